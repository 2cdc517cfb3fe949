"""The file formats that vectors can be exported to: one file per format, one row in `table.py`."""
