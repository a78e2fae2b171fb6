"""What ``unnoise eval`` says of point clouds."""
