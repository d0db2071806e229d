"""The viewer: pictures, tiles, page, server, widget."""
