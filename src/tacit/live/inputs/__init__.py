"""Where events come from, each exactly once: the mark of how far a stream was taken is committed
with what its rows did, and only then is the stream told."""
