"""Bytes that wait for what comes before them: disjoint segments in order of their offsets.

A segment is a chain of pieces of memory; segments lie sorted in leaves, the leaves sorted in one array, so that
adding one costs about the same wherever it goes and however many there are. Functions that may run out of memory
return -1 (or NULL) and leave everything usable.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

cdef enum:
    LEAF = 64
    LEAST_PIECE = 128
    MOST_PIECE = 65536


cdef struct Piece:
    # ``room`` bytes follow the struct, those from ``start`` to ``end`` are filled.
    Piece *following
    Py_ssize_t start
    Py_ssize_t end
    Py_ssize_t room


cdef struct Segment:
    int64_t start
    int64_t end
    Piece *first
    Piece *last


cdef struct Leaf:
    Py_ssize_t count
    Segment items[LEAF]


cdef struct Segments:
    Leaf **leaves
    Py_ssize_t leaf_count
    Py_ssize_t room
    Py_ssize_t count


cdef struct Spot:
    Py_ssize_t leaf
    Py_ssize_t item


# --- the bytes of one segment


cdef inline unsigned char *piece_bytes(Piece *piece) noexcept nogil:
    return <unsigned char *>(piece + 1)


cdef inline Piece *new_piece(Py_ssize_t length, int64_t held) noexcept nogil:
    """A piece for ``length`` bytes that doubles what the segment can hold, within reason."""
    cdef Py_ssize_t room = max(<Py_ssize_t>min(held, <int64_t>MOST_PIECE), length, <Py_ssize_t>LEAST_PIECE)
    cdef Piece *piece = <Piece *>malloc(sizeof(Piece) + room)
    if piece != NULL:
        piece.following = NULL
        piece.start = piece.end = 0
        piece.room = room
    return piece


cdef inline int append(Segment *segment, const unsigned char *data, Py_ssize_t length) noexcept nogil:
    cdef Piece *last = segment.last
    cdef Piece *piece
    cdef Py_ssize_t fitting = min(length, last.room - last.end)
    if fitting < length:
        piece = new_piece(length - fitting, segment.end - segment.start)
        if piece == NULL:
            return -1
        memcpy(piece_bytes(piece), data + fitting, length - fitting)
        piece.end = length - fitting
        last.following = piece
        segment.last = piece
    memcpy(piece_bytes(last) + last.end, data, fitting)
    last.end += fitting
    segment.end += length
    return 0


cdef inline int prepend(Segment *segment, const unsigned char *data, Py_ssize_t length) noexcept nogil:
    cdef Piece *first = segment.first
    cdef Piece *piece
    cdef Py_ssize_t fitting = min(length, first.start)
    cdef Py_ssize_t left = length - fitting
    if left:
        piece = new_piece(left, segment.end - segment.start)
        if piece == NULL:
            return -1
        piece.end = piece.room
        piece.start = piece.end - left
        memcpy(piece_bytes(piece) + piece.start, data, left)
        piece.following = first
        segment.first = piece
    first.start -= fitting
    memcpy(piece_bytes(first) + first.start, data + left, fitting)
    segment.start -= length
    return 0


cdef inline void absorb(Segment *segment, Segment *following) noexcept nogil:
    """Take over the pieces of a segment that starts where this one ends; what fits in a piece's rest is copied."""
    cdef Piece *last = segment.last
    cdef Piece *piece = following.first
    cdef Py_ssize_t length = piece.end - piece.start
    segment.end = following.end
    if length <= last.room - last.end:
        memcpy(piece_bytes(last) + last.end, piece_bytes(piece) + piece.start, length)
        last.end += length
        following.first = piece.following
        free(piece)
    if following.first != NULL:
        last.following = following.first
        segment.last = following.last


cdef inline void drop_first_piece(Segment *segment) noexcept nogil:
    cdef Piece *piece = segment.first
    segment.first = piece.following
    free(piece)


# --- the segments in order


cdef inline Segment *segment_at(Segments *segments, Spot spot) noexcept nogil:
    return &segments.leaves[spot.leaf].items[spot.item]


cdef inline Spot after(Segments *segments, Spot spot) noexcept nogil:
    """The next spot; its leaf may be one that does not exist."""
    spot.item += 1
    if spot.leaf < segments.leaf_count and spot.item >= segments.leaves[spot.leaf].count:
        spot.leaf += 1
        spot.item = 0
    return spot


cdef inline Spot last_from(Segments *segments, int64_t start) noexcept nogil:
    """Where the last segment lies that starts at or before ``start``; item -1 of leaf 0 when there is none."""
    cdef Py_ssize_t low = 0, high = segments.leaf_count, middle
    cdef Leaf *leaf
    cdef Spot spot = Spot(0, -1)
    if high > 0 and segments.leaves[high - 1].items[0].start <= start:
        low = high
    while low < high:
        middle = (low + high) >> 1
        if segments.leaves[middle].items[0].start <= start:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return spot
    spot.leaf = low - 1
    leaf = segments.leaves[spot.leaf]
    low, high = 1, leaf.count
    if leaf.items[high - 1].start <= start:
        low = high
    while low < high:
        middle = (low + high) >> 1
        if leaf.items[middle].start <= start:
            low = middle + 1
        else:
            high = middle
    spot.item = low - 1
    return spot


cdef inline Segment *touched_by(Segments *segments, int64_t start, int64_t end, Spot *spot) noexcept nogil:
    """The first segment that ``[start, end)`` overlaps or touches; NULL, and the spot to add behind, without one."""
    cdef Spot following
    spot[0] = last_from(segments, start)
    if spot.item >= 0 and segment_at(segments, spot[0]).end >= start:
        return segment_at(segments, spot[0])
    following = after(segments, spot[0])
    if following.leaf >= segments.leaf_count or segment_at(segments, following).start > end:
        return NULL
    spot[0] = following
    return segment_at(segments, following)


cdef inline Leaf *add_leaf(Segments *segments, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t room = max(<Py_ssize_t>4, 2 * segments.room)
    cdef Leaf **grown
    cdef Leaf *leaf
    if segments.leaf_count == segments.room:
        grown = <Leaf **>realloc(segments.leaves, room * sizeof(Leaf *))
        if grown == NULL:
            return NULL
        segments.leaves = grown
        segments.room = room
    leaf = <Leaf *>malloc(sizeof(Leaf))
    if leaf == NULL:
        return NULL
    leaf.count = 0
    memmove(segments.leaves + index + 1, segments.leaves + index, (segments.leaf_count - index) * sizeof(Leaf *))
    segments.leaves[index] = leaf
    segments.leaf_count += 1
    return leaf


cdef inline int open_leaf(Segments *segments, Spot *spot) noexcept nogil:
    """Make the leaf at ``spot`` take one segment more, at that spot."""
    cdef Leaf *full
    cdef Leaf *leaf
    if segments.leaf_count == 0:
        return -1 if add_leaf(segments, 0) == NULL else 0
    full = segments.leaves[spot.leaf]
    if full.count < LEAF:
        return 0
    if spot.item == 0:
        return -1 if add_leaf(segments, spot.leaf) == NULL else 0
    leaf = add_leaf(segments, spot.leaf + 1)
    if leaf == NULL:
        return -1
    if spot.item == LEAF and spot.leaf + 2 == segments.leaf_count:
        spot[0] = Spot(spot.leaf + 1, 0)
        return 0
    leaf.count = full.count = LEAF // 2
    memcpy(leaf.items, full.items + LEAF // 2, LEAF // 2 * sizeof(Segment))
    if spot.item > LEAF // 2:
        spot[0] = Spot(spot.leaf + 1, spot.item - LEAF // 2)
    return 0


cdef inline int add_behind(
    Segments *segments, Spot spot, int64_t start, const unsigned char *data, Py_ssize_t length
) noexcept nogil:
    """Add a segment behind the one at ``spot``."""
    cdef Piece *piece = new_piece(length, 0)
    cdef Segment *item
    cdef Leaf *leaf
    spot.item += 1
    if piece == NULL or open_leaf(segments, &spot) < 0:
        free(piece)
        return -1
    memcpy(piece_bytes(piece), data, length)
    piece.end = length
    leaf = segments.leaves[spot.leaf]
    item = leaf.items + spot.item
    memmove(item + 1, item, (leaf.count - spot.item) * sizeof(Segment))
    item[0] = Segment(start, start + length, piece, piece)
    leaf.count += 1
    segments.count += 1
    return 0


cdef inline void remove(Segments *segments, Spot spot) noexcept nogil:
    """Take out a segment whose pieces have gone elsewhere."""
    cdef Leaf *leaf = segments.leaves[spot.leaf]
    cdef Segment *item = leaf.items + spot.item
    leaf.count -= 1
    segments.count -= 1
    memmove(item, item + 1, (leaf.count - spot.item) * sizeof(Segment))
    if leaf.count == 0:
        drop_leaf(segments, spot.leaf)


cdef inline void drop_leaf(Segments *segments, Py_ssize_t index) noexcept nogil:
    free(segments.leaves[index])
    segments.leaf_count -= 1
    memmove(segments.leaves + index, segments.leaves + index + 1, (segments.leaf_count - index) * sizeof(Leaf *))


cdef inline void merge_leaves(Segments *segments, Py_ssize_t index) noexcept nogil:
    """Join a leaf with the one behind it where both are nearly empty."""
    cdef Leaf *leaf
    cdef Leaf *following
    if index < 0 or index + 1 >= segments.leaf_count:
        return
    leaf = segments.leaves[index]
    following = segments.leaves[index + 1]
    if leaf.count + following.count <= LEAF // 2:
        memcpy(leaf.items + leaf.count, following.items, following.count * sizeof(Segment))
        leaf.count += following.count
        drop_leaf(segments, index + 1)


cdef inline int join(
    Segments *segments, Spot spot, int64_t start, int64_t end, const unsigned char *data
) noexcept nogil:
    """Add ``[start, end)`` to the segment at ``spot``, the first that it touches, and all others it touches to that."""
    cdef Segment *segment = segment_at(segments, spot)
    cdef Segment *following
    cdef Spot next_spot = after(segments, spot)
    cdef int status = 0
    if start < segment.start:
        status = prepend(segment, data, <Py_ssize_t>(segment.start - start))
    while status == 0 and next_spot.leaf < segments.leaf_count:
        following = segment_at(segments, next_spot)
        if following.start > end:
            break
        if segment.end < following.start:
            status = append(segment, data + (segment.end - start), <Py_ssize_t>(following.start - segment.end))
        if status == 0:
            absorb(segment, following)
            remove(segments, next_spot)
            next_spot = after(segments, spot)
    if status == 0 and segment.end < end:
        status = append(segment, data + (segment.end - start), <Py_ssize_t>(end - segment.end))
    merge_leaves(segments, spot.leaf + 1)
    merge_leaves(segments, spot.leaf)
    merge_leaves(segments, spot.leaf - 1)
    return status


cdef inline void drop_all(Segments *segments) noexcept nogil:
    cdef Py_ssize_t index, item
    for index in range(segments.leaf_count):
        for item in range(segments.leaves[index].count):
            while segments.leaves[index].items[item].first != NULL:
                drop_first_piece(&segments.leaves[index].items[item])
        free(segments.leaves[index])
    free(segments.leaves)
    segments.leaves = NULL
    segments.leaf_count = segments.room = segments.count = 0
