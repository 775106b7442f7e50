// Package eventfile is an event store in a directory, embedded in the process:
// SQLite's place among databases, for events. There is no server, and nothing
// beyond the standard library.
//
//	log, err := eventfile.Open("/var/lib/shop/events", eventfile.Config{})
//	if err != nil { ... }
//	defer log.Close()
//
//	_, err = log.Append(ctx, []eventsource.Event{
//		{Stream: "account-7", Type: "account.opened"},
//	}, eventsource.NoStream("account-7"))
//
// An [Open] log is an [eventsource.Store] and an [eventsource.Checkpoints], to
// be used with Decider, Subscribe and Projection as every other store. One
// process has a directory open at a time.
//
// # Durability
//
// Append and SaveCheckpoint return when fsync has returned. What comes during an
// fsync shares the next one, so that hundreds of callers cost about as much as
// one: appends per second grow with the number of callers, not with the speed of
// the disk. [Config.NoSync] acknowledges before, for what can be lost.
//
// After a crash, of the process or of the machine, the log holds all that was
// acknowledged, and a prefix of what was not. Damage to what was acknowledged is
// [eventsource.ErrCorrupt], from Open or from Read, and never cut off; the one
// exception is the last batch before a crash without Close, in which damage
// cannot be told from a write that the crash tore.
//
// # Memory
//
// Events stay on the disk. Memory holds, per event, 8 bytes of address, 4 bytes
// for each of stream, type and tags, and about 16 for an id that the caller gave;
// and each name once. A log holds less than 2^32 events, and keeps its files
// open.
//
// # Files
//
// The directory holds the event log (*.wal), beside each complete file of it an
// index (*.idx) that may be deleted at any time, a directory "checkpoints" with
// a log of its own, LOCK, and a file "incarnation", by which Open tells a crash from a
// Close. Copy all of it while the log is closed, or a
// snapshot of the file system at any time, for a backup. The format is stable:
// a later release reads what this one wrote.
package eventfile
