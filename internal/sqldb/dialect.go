package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Dialect is a database whose rules are known here. The zero value is none.
type Dialect uint8

// The dialects.
const (
	Postgres Dialect = iota + 1 // 13 and later
	SQLite                      // 3.35 and later
)

// String returns "postgres" or "sqlite".
func (d Dialect) String() string {
	switch d {
	case Postgres:
		return "postgres"
	case SQLite:
		return "sqlite"
	default:
		return "unknown"
	}
}

// Recognise asks the database what it is. Databases that only speak the
// protocol of Postgres are refused by what version() says: they have other
// locks and other sequences. So are versions that are too old, and, if primary
// is set, hot standbys.
func Recognise(ctx context.Context, db *sql.DB, primary bool) (Dialect, error) {
	var version string
	sqliteErr := db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	if sqliteErr == nil {
		return SQLite, sqliteVersion(version)
	}
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return 0, fmt.Errorf("neither sqlite_version() nor version() answers: %w", errors.Join(err, sqliteErr))
	}
	if err := postgresName(version); err != nil {
		return 0, err
	}
	var number string
	var standby bool
	err := db.QueryRowContext(ctx, "SELECT current_setting('server_version_num'), pg_is_in_recovery()").Scan(&number, &standby)
	if err != nil {
		return 0, fmt.Errorf("ask for the server's version: %w", err)
	}
	if n, err := strconv.Atoi(number); err != nil || n < 130000 {
		return 0, fmt.Errorf("the database is %q; Postgres 13 or later is needed", version)
	}
	if standby && primary {
		return 0, errors.New("the database is a hot standby, which sees none of the primary's locks; open the primary")
	}
	return Postgres, nil
}

// others are databases whose version() begins as that of Postgres does.
var others = []string{"-YB-", "Redshift", "Greenplum", "Materialize", "RisingWave", "Cockroach", "CrateDB", "QuestDB", "Cloudberry"}

func postgresName(version string) error {
	ok := strings.HasPrefix(version, "PostgreSQL ") || strings.HasPrefix(version, "EnterpriseDB ")
	for _, name := range others {
		ok = ok && !strings.Contains(version, name)
	}
	if !ok {
		return fmt.Errorf("the database is %q; Postgres 13+ or SQLite 3.35+ is needed", version)
	}
	return nil
}

func sqliteVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) == 3 {
		major, err1 := strconv.Atoi(parts[0])
		minor, err2 := strconv.Atoi(parts[1])
		if err1 == nil && err2 == nil && (major > 3 || major == 3 && minor >= 35) {
			return nil
		}
	}
	return fmt.Errorf("the database is SQLite %q; 3.35 or later is needed", version)
}
