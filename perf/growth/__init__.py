"""How the cost of a packet grows: with size, streams, reordering, loss, and the round trip."""
