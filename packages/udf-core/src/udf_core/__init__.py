"""udf_core."""
