"""Files of finished exports: to disk, or record by record."""
