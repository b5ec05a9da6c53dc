//! Fuzz targets, one per parser, and their corpus.
