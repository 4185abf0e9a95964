"""The tests of Assay; folders mirror the package."""
