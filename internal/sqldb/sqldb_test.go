package sqldb_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/sqldb"
)

// fake is a database that knows some queries.
type fake map[string][]driver.Value

func (f fake) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f fake) Driver() driver.Driver                        { return nil }
func (f fake) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("fake: not here") }

func (f fake) Begin() (driver.Tx, error) { return nil, errors.New("fake: not here") }
func (f fake) Close() error              { return nil }

func (f fake) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if row, ok := f[query]; ok {
		return &rows{row, false}, nil
	}
	return nil, errors.New("fake: no such function")
}

type rows struct {
	row  []driver.Value
	read bool
}

func (r *rows) Columns() []string { return make([]string, len(r.row)) }
func (r *rows) Close() error      { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	copy(dest, r.row)
	return nil
}

func postgres(version, number string, standby bool) fake {
	return fake{
		"SELECT version()": {version},
		"SELECT current_setting('server_version_num'), pg_is_in_recovery()": {number, standby},
	}
}

func TestDatabasesAreRecognised(t *testing.T) {
	for name, c := range map[string]struct {
		db      fake
		want    sqldb.Dialect
		refused string
	}{
		"postgres":       {postgres("PostgreSQL 15.8 (Debian 15.8-0+deb12u1) on x86_64", "150008", false), sqldb.Postgres, ""},
		"postgres 13":    {postgres("PostgreSQL 13.0 on x86_64", "130000", false), sqldb.Postgres, ""},
		"old postgres":   {postgres("PostgreSQL 12.20 on x86_64", "120020", false), 0, "13 or later"},
		"standby":        {postgres("PostgreSQL 15.8 on x86_64", "150008", true), 0, "standby"},
		"cockroach":      {postgres("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", "130000", false), 0, "CockroachDB"},
		"yugabyte":       {postgres("PostgreSQL 15.2-YB-2.25.0.0-b0 on x86_64", "150002", false), 0, "YB"},
		"redshift":       {postgres("PostgreSQL 8.0.2 on i686, Redshift 1.0.12103", "80002", false), 0, "Redshift"},
		"materialize":    {postgres("PostgreSQL 9.5.0 on x86_64 (Materialize v0.27)", "130000", false), 0, "Materialize"},
		"mysql":          {fake{"SELECT version()": {"8.0.36"}}, 0, "8.0.36"},
		"sqlite":         {fake{"SELECT sqlite_version()": {"3.46.1"}}, sqldb.SQLite, ""},
		"sqlite 3.35":    {fake{"SELECT sqlite_version()": {"3.35.0"}}, sqldb.SQLite, ""},
		"old sqlite":     {fake{"SELECT sqlite_version()": {"3.34.1"}}, 0, "3.35 or later"},
		"something else": {fake{}, 0, "neither"},
	} {
		db := sql.OpenDB(c.db)
		got, err := sqldb.Recognise(t.Context(), db, true)
		if c.refused == "" {
			assert.NoError(t, err, name)
			assert.Equal(t, c.want, got, name)
		} else if assert.Error(t, err, name) {
			assert.Contains(t, err.Error(), c.refused, name)
		}
		assert.NoError(t, db.Close())
	}
}

func TestAStandbyMayBeAskedFor(t *testing.T) {
	db := sql.OpenDB(postgres("PostgreSQL 15.8 on x86_64", "150008", true))
	defer db.Close()
	got, err := sqldb.Recognise(t.Context(), db, false)
	assert.NoError(t, err)
	assert.Equal(t, sqldb.Postgres, got)
	assert.Equal(t, "postgres sqlite unknown", got.String()+" "+sqldb.SQLite.String()+" "+sqldb.Dialect(0).String())
}

// A prefix goes into statements as it is.
func TestPrefixesAreNames(t *testing.T) {
	got, err := sqldb.Prefix("")
	assert.NoError(t, err)
	assert.Equal(t, "keelson_", got)
	for _, good := range []string{"a", "_", "shop_2_", strings.Repeat("x", 24)} {
		got, err := sqldb.Prefix(good)
		assert.NoError(t, err)
		assert.Equal(t, good, got)
	}
	for _, bad := range []string{"1a", "A_", "a-", "a.b", `a"`, "a;", "é", strings.Repeat("x", 25), " "} {
		_, err := sqldb.Prefix(bad)
		assert.Error(t, err, bad)
	}
}

func TestScriptsSplitOutsideOfFunctions(t *testing.T) {
	s := sqldb.Schema{Prefix: "p_"}
	got := s.Statements("CREATE TABLE keelson_a (n int);\n\nCREATE FUNCTION f() AS $$\n  x;\n\n  y;\n$$;\n\nSELECT 1;\n")
	assert.Equal(t, []string{"CREATE TABLE p_a (n int)", "CREATE FUNCTION f() AS $$\n  x;\n\n  y;\n$$", "SELECT 1;"}, got)
}

type stateError string

func (e stateError) Error() string    { return "state " + string(e) }
func (e stateError) SQLState() string { return string(e) }

func TestErrorsSayWhetherATransactionIsGone(t *testing.T) {
	for state, want := range map[string]bool{"23505": true, "40P01": true, "57014": true, "08006": false, "57P01": false, "": false} {
		var err error = stateError(state)
		if state == "" {
			err = io.ErrUnexpectedEOF
		}
		assert.Equal(t, want, sqldb.RolledBack(err), state)
		assert.Equal(t, state, sqldb.State(errors.Join(errors.New("while"), err)))
	}
	assert.True(t, sqldb.SerialFailure(stateError("40P01")))
	assert.True(t, sqldb.SerialFailure(stateError("40001")))
	assert.True(t, sqldb.NotSent(driver.ErrBadConn))
	assert.True(t, sqldb.Busy(errors.New("database is locked (5) (SQLITE_BUSY)")))
	assert.False(t, sqldb.Busy(nil))
}

func TestWhileBusyTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := errors.New("database is locked")
		n := 0
		assert.NoError(t, sqldb.WhileBusy(t.Context(), func() error {
			if n++; n < 10 {
				return busy
			}
			return nil
		}))
		other := errors.New("no")
		assert.Same(t, other, sqldb.WhileBusy(t.Context(), func() error { return other }))

		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		err := sqldb.WhileBusy(ctx, func() error { return busy })
		assert.ErrorIs(t, err, cause)
		assert.ErrorIs(t, err, busy)
	})
}
