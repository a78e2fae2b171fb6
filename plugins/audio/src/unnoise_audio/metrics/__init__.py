"""What ``unnoise eval`` reports of sounds."""
