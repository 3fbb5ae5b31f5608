"""Objects in three dimensions, made of a few simple solids, under a camera of six coordinates."""
