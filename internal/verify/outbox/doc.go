// Package outbox checks eventsource/messaging/outbox on real databases and with
// the drivers that users have: pgx and lib/pq on Postgres, modernc's and mattn's
// on SQLite.
package outbox
