"""Jobs as processes of their own: on which devices, after which others, and how far they are."""
