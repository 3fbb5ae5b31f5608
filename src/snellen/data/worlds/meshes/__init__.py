"""Objects of mesh files, looked at from anywhere: reading, placing, two renderers, catalogues and a cache of views."""
