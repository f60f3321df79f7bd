"""HTTP/3 clients, ours and others', doing the same work behind one line protocol (``perf/peers/worker.py``)."""
