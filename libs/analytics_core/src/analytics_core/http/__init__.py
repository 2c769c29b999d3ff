"""The HTTP edge; the only part of the library that knows Litestar."""
