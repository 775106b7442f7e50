package eventsql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/keelson-go/keelson/eventsource"
)

// stored is where an id is.
type stored struct {
	position, version uint64
	stream, typ       string
}

// duplicate answers a request of which some ids are known. Ids are never
// forgotten, so that this may be a later statement than the one that found
// them.
func (s *Store) duplicate(ctx context.Context, q querier, r *request) (eventsource.Result, error) {
	known, err := s.lookUp(ctx, q, r)
	if err != nil {
		return eventsource.Result{}, s.failed(ctx, r, err)
	}
	var res eventsource.Result
	for i := range r.rows {
		x := &r.rows[i]
		at, ok := known[x.id]
		switch {
		case !ok:
			return res, fmt.Errorf("%w: Event.ID: events[%d]: %q is not known and others of the append are; all or none", eventsource.ErrInvalid, i, x.id)
		case at.stream != x.streamName || at.typ != x.typ:
			return res, fmt.Errorf("%w: Event.ID: events[%d]: %q is of a %q in stream %q", eventsource.ErrInvalid, i, x.id, at.typ, at.stream)
		case at.position <= uint64(res.Last):
			return res, fmt.Errorf("%w: Event.ID: events[%d]: %q is known, in another order", eventsource.ErrInvalid, i, x.id)
		}
		res.Last, res.Version = eventsource.Position(at.position), at.version
		if i == 0 {
			res.First = res.Last
		}
	}
	if r.lost && !r.given() { // ids that nobody else has: the first sending did it
		s.stats.appends.Add(1)
		s.stats.events.Add(uint64(len(r.rows)))
		s.Notify()
		return res, nil
	}
	s.stats.duplicates.Add(1)
	res.Duplicate = true
	return res, nil
}

func (s *Store) lookUp(ctx context.Context, q querier, r *request) (map[string]stored, error) {
	const chunk = 500
	known := make(map[string]stored, len(r.rows))
	for from := 0; from < len(r.rows); from += chunk {
		b := s.builder()
		b.write("SELECT id, position, version, stream, type FROM ", s.cfg.Prefix, "events WHERE id IN (")
		for i := from; i < min(from+chunk, len(r.rows)); i++ {
			if i > from {
				b.write(", ")
			}
			b.arg(r.rows[i].id)
		}
		b.write(")")
		if err := scanStored(ctx, q, b, known); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func scanStored(ctx context.Context, q querier, b *builder, into map[string]stored) error {
	rows, err := q.QueryContext(ctx, b.String(), b.args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var at stored
		var version sql.NullInt64
		if err := rows.Scan(&id, &at.position, &version, &at.stream, &at.typ); err != nil {
			return err
		}
		at.version = uint64(version.Int64)
		into[id] = at
	}
	return rows.Err()
}
