"""Objects of mesh files, drawn from anywhere: reading, placing, two renderers, catalogues and a cache of views."""
