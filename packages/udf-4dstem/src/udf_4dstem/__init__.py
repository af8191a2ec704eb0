"""udf_4dstem."""
