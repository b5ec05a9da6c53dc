//! For tests and fuzz targets alone; no part of the API.
