package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Schema is the tables of one package, as a list of scripts. Script i brings
// version i to version i+1; a published one never changes.
//
// Scripts are written with DefaultPrefix, so that they run in psql and sqlite3
// as they are. A statement ends with a semicolon at the end of a line before an
// empty one, outside $$, or at the end of the script.
type Schema struct {
	Part    string // "eventsql": a row of the table <prefix>schema, which all parts share
	Prefix  string
	Scripts []string
}

// Setup applies the scripts that are missing, in one transaction, while holding
// a lock against other Setups. Applying none is fine.
func (s Schema) Setup(ctx context.Context, db *sql.DB, d Dialect) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := s.begin(ctx, conn, d); err != nil {
		return err
	}
	err = s.apply(ctx, conn)
	if err == nil {
		err = WhileBusy(ctx, func() error { // readers can be in the way, without WAL
			_, err := conn.ExecContext(ctx, "COMMIT")
			return err
		})
	}
	if err != nil {
		conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") //nolint:errcheck // the first error says more
	}
	return err
}

// begin takes the lock. Postgres would let two sessions race to create the same
// table, and fail one of them with a unique violation.
func (s Schema) begin(ctx context.Context, conn *sql.Conn, d Dialect) error {
	if d == SQLite {
		return WhileBusy(ctx, func() error {
			_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
			return err
		})
	}
	if _, err := conn.ExecContext(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED"); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_xact_lock(hashtext('"+s.table()+"'))")
	return err
}

func (s Schema) apply(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+s.table()+" (part text PRIMARY KEY, version integer NOT NULL)")
	if err != nil {
		return err
	}
	version, err := s.version(ctx, conn)
	if err != nil {
		return err
	}
	if version > len(s.Scripts) {
		return s.newer(version)
	}
	for _, script := range s.Scripts[version:] {
		for _, statement := range s.Statements(script) {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("%w, in %.60q", err, statement)
			}
		}
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf(
		"INSERT INTO %s (part, version) VALUES ('%s', %d) ON CONFLICT (part) DO UPDATE SET version = excluded.version",
		s.table(), s.Part, len(s.Scripts)))
	return err
}

// Check returns nil if the tables are there as this program knows them.
func (s Schema) Check(ctx context.Context, db *sql.DB) error {
	switch version, err := s.version(ctx, db); {
	case missingTable(err):
		return fmt.Errorf("there are no tables %s*: call Setup first", s.Prefix)
	case err != nil:
		return err
	case version < len(s.Scripts):
		return fmt.Errorf("the tables %s* have version %d of %d: call Setup first", s.Prefix, version, len(s.Scripts))
	case version > len(s.Scripts):
		return s.newer(version)
	}
	return nil
}

func (s Schema) newer(version int) error {
	return fmt.Errorf("the tables %s* have version %d, this program knows %d: deploy the newer one", s.Prefix, version, len(s.Scripts))
}

// Statements splits a script, with the prefix in place.
func (s Schema) Statements(script string) (all []string) {
	script = strings.ReplaceAll(script, DefaultPrefix, s.Prefix)
	statement := ""
	for part := range strings.SplitSeq(strings.TrimSpace(script), ";\n\n") {
		statement += part
		if strings.Count(statement, "$$")%2 == 1 { // within the body of a function
			statement += ";\n\n"
			continue
		}
		all, statement = append(all, statement), ""
	}
	return all
}

func (s Schema) table() string { return s.Prefix + "schema" }

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s Schema) version(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRowContext(ctx, "SELECT version FROM "+s.table()+" WHERE part = '"+s.Part+"'").Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

func missingTable(err error) bool {
	return State(err) == "42P01" || err != nil && strings.Contains(err.Error(), "no such table")
}
