// Package wal is a log of records in segment files, like the write-ahead log
// of a database without the database: a record that was acknowledged is there
// after a crash, and what is there after a crash is a prefix of what was
// enqueued.
//
// Owners encode a record, take their own lock, look at their state, [Log.Enqueue]
// and let go; [Ticket.Wait] outside the lock returns when the record is on the
// disk. Whatever was enqueued while the disk was busy shares its next write and
// fsync (group commit), so a hundred waiting callers cost about as much as one.
// There is no artificial delay: alone, a caller waits for one fsync.
//
// A log knows records only: not what they mean, not which are still of use.
// [Open] replays them, [Reader] reads single ones by address, [Log.DropBefore]
// lets go of the oldest segments.
//
// # On disk
//
// A directory holds LOCK, which one process at a time has locked, and segments
// named by the number of their first record, 20 digits and ".wal". All numbers
// are little-endian. A segment starts with a header of 64 bytes:
//
//	 0  magic "KEELWAL\n"
//	 8  version of this layout, u32, 1
//	12  format of the records, u32, the owner's
//	16  number of the first record, u64; the one before it ends the previous segment
//	24  address of this header, u64: the length of all segments before it
//	32  length of the previous segment, u64
//	40  salt, 8 random bytes
//	48  zero
//	60  CRC-32C of the bytes before, u32
//
// Frames follow, without padding:
//
//	 0  kind << 28 | length of the payload, u32
//	 4  CRC-32C of salt, kind and length, number, payload, u32
//	 8  number, u64
//	16  payload, less than 256 MiB
//
// A frame of kind 1 is a record. The number under the checksum rejects frames
// of an earlier life of the same bytes, the salt frames that the data of a
// record imitates. Kind 2 is a mark that opens a batch: its number is that of
// the first record, its payload says how many records follow, in how many
// bytes, and up to which record the log was durable before this batch was
// written. Kind 3 is the mark that [Log.Close] leaves, of an empty batch.
//
// # Recovery
//
// A batch is written only after the fsync of the one before it has returned.
// So a valid mark proves that what it calls durable was on the disk, and
// recovery can tell a torn write from damage: at the first bad frame of the last
// segment it looks for a valid mark behind it that calls the record in question
// durable. If there is one, acknowledged data is damaged: [ErrCorrupt], and
// nothing is cut. If there is none, this is the tail that a crash tore: cut, and
// synced. Only in the last batch, and only if there was no Close, damage cannot
// be told from a torn write. Earlier segments must be whole: each header holds
// the length of its predecessor and continues its numbers.
//
// The last batch is written again and synced before the log serves anybody:
// after a failed fsync the page cache may show what the disk lacks, so a process
// that merely reads it cannot know. A last segment without a valid header never
// held anything, since its header is synced before the first batch follows.
//
// # Failure
//
// A short write, a full disk or a failed fsync poisons the log. Whether that
// batch is on the disk is unknown ([ErrUncertain]); batches built on it fail
// unwritten ([ErrPoisoned]). Nothing is tried again on that file, as the kernel
// reports a failed write-back once and then calls the pages clean. Records that
// were durable stay readable; opening the log anew recovers.
package wal
