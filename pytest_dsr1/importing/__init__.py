"""Importing: other projects' descriptions of a run become scenario files."""
