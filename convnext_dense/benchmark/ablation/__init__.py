"""What each choice in the backbone's fast path saves: the choices, and how each is computed."""
