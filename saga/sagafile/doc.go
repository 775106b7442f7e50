// Package sagafile keeps sagas in a directory, like an embedded database with one
// purpose: no server, no driver, one process at a time. A saga that was started,
// and every step that was recorded, is on the disk when the call returns.
//
//	store, err := sagafile.Open("/var/lib/shop/sagas", sagafile.Config{})
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//	c, err := saga.New(store, saga.Config{})
//
// Commits that come while the disk is busy share its next fsync, so that hundreds
// of sagas cost about as many fsyncs as one. After a crash the directory is free
// at once and everything that was held is due: the next process goes on without
// waiting for a lease.
//
// # Memory and disk
//
// The store keeps each saga's header in memory, at most 700 bytes plus the keys of
// its messages and the text of a failure, and an address into the log: frames of
// one saga link back to the one before. Logs and messages are read from disk when
// a saga is loaded.
//
// Purge forgets ended sagas. Where that leaves the oldest file of the log mostly
// dead, what still lives in it is appended again and the file removed; the cost is
// at most the bytes that become free, about. Without Purge, or without
// saga.Config.Keep, the log grows for ever.
//
// # Damage
//
// A torn end, which nobody was told to be durable, is cut off by [Open]. Any other
// damage is [ErrCorrupt], and nothing is changed. After a failed write or fsync
// every call fails, with Retryable() false: what the disk holds is unknown until
// it is opened anew.
package sagafile
