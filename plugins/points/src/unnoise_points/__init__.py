"""Point clouds for unnoise: sets without order, from meshes or scans."""
