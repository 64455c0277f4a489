"""A build's results in the forms that clients ask for: archives of images, and plain files.

Here: what is written, as streams of bytes or entries (archives.py: OCI and docker; trees.py: the files of a result). Where the bytes
go is the caller's: a client's session, a file, an answer over HTTP.
Not here: images in the engine itself (images/).
"""
