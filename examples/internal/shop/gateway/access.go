package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/examples/internal/token"
)

// caller is who asks, as far as his token holds. The zero caller is anybody.
type caller struct {
	user, role, plan string
}

// session is what users says of one.
type session struct {
	User    int       `json:"userId"`
	Expires time.Time `json:"expires"`
}

// access knows callers by their tokens and sessions. A token that holds is half of it:
// its session may have been ended since, which users knows, and a cache remembers.
type access struct {
	keys     *token.Keys
	users    *wire.Client
	sessions *cache.Cache[string, session]
}

func newAccess(n *wire.Node, users *wire.Client) (a *access, err error) {
	a = &access{users: users}
	if a.keys, err = token.NewKeys("users", "gateway", n.Key()); err != nil {
		return nil, err
	}
	remote, bus := n.Cache()
	settings := n.Settings()
	a.sessions, err = cache.New(cache.Config[string, session]{
		MaxEntries: 10_000, CountHits: true,
		Policy: cache.Policy{
			TTL: settings.SharedTTL, LocalTTL: settings.LocalTTL, NotFoundTTL: settings.QueryTTL,
			// While users is out whoever was signed in stays so; a token lives no longer.
			StaleIfError: 15 * time.Minute, LoadTimeout: settings.PerTry,
		},
		Load: a.load, Key: wire.SessionKey, Remote: remote, Bus: bus, RemoteTimeout: settings.PerTry / 4,
	})
	if err != nil {
		return nil, err
	}
	n.Own(a.sessions)
	n.Section("cache", func() any {
		return wire.Entry{Name: n.Name(), Value: map[string]any{"sessions": a.sessions.Stats()}}
	})
	return a, nil
}

func (a *access) load(ctx context.Context, sid string) (s session, err error) {
	answer, err := a.users.Do(ctx, wire.Request{Method: http.MethodGet, Path: "/sessions/" + url.PathEscape(sid)})
	switch {
	case err != nil:
		return s, err
	case answer.Status == http.StatusNotFound:
		return s, cache.ErrNotFound
	case answer.Status != http.StatusOK:
		return s, &wire.StatusError{Response: answer}
	}
	return s, json.Unmarshal(answer.Body, &s)
}

// identify returns who asks. With an error it is anybody.
func (a *access) identify(r *http.Request) (caller, error) {
	nobody := caller{role: anyone}
	text, err := token.Bearer(r.Header.Values("Authorization"))
	if err != nil {
		return nobody, err
	}
	claims, err := a.keys.Verify(text, time.Now())
	if err != nil {
		return nobody, err
	}
	if _, err := a.sessions.Get(r.Context(), claims.Session); err != nil {
		return nobody, err
	}
	return caller{user: claims.Subject, role: claims.Role, plan: claims.Plan}, nil
}

// deny is one answer for every token that does not hold: what was wrong with it is no
// business of whoever sent it. That users could not be asked is another matter.
func deny(w http.ResponseWriter, err error) error {
	if !errors.Is(err, token.ErrInvalid) && !errors.Is(err, cache.ErrNotFound) {
		return wire.Unavailable("users", err)
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	return wire.NewProblem(http.StatusUnauthorized, "unauthorized", "sign in")
}
