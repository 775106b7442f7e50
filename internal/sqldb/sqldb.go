// Package sqldb is what the packages that keep their tables in a user's
// database have in common: it tells which database that is, refuses the ones
// whose rules are not known, checks the prefix of names, and creates or
// migrates tables under a lock. It imports no driver.
//
//	dialect.go   which database, and what is refused
//	migrate.go   the scripts of a package, applied once each
//	durable.go   commits of SQLite that wait for the disk
//	errors.go    what a driver's error says, without its types
package sqldb

import "fmt"

// DefaultPrefix begins the names of tables, types, functions and sequences.
const DefaultPrefix = "keelson_"

// maxPrefix leaves 39 of the 63 bytes that Postgres keeps of a name.
const maxPrefix = 24

// Prefix returns the prefix to use, DefaultPrefix for "". It goes into
// statements as it is, so that it may hold lower-case letters, digits and
// underscores alone, the first not a digit, 24 bytes at most.
func Prefix(prefix string) (string, error) {
	if prefix == "" {
		return DefaultPrefix, nil
	}
	ok := len(prefix) <= maxPrefix
	for i, c := range []byte(prefix) {
		ok = ok && (c >= 'a' && c <= 'z' || c == '_' || c >= '0' && c <= '9' && i > 0)
	}
	if !ok {
		return "", fmt.Errorf("Prefix is %q; it may have 1 to %d of a-z, 0-9 and _, the first not a digit", prefix, maxPrefix)
	}
	return prefix, nil
}
