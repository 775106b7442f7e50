// Package users is the user service: sign-up, look-up by id, and sessions. Users live
// in four logs, sharded by id; what others want to know goes from the logs to the
// topics user-events and email-queue, so that a sign-up is one write, and nobody has
// to be there to hear of it.
package users

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/examples/internal/token"
)

const (
	maxName  = 100 // characters
	maxEmail = 254 // bytes, of RFC 5321; also what keeps a page of users below a megabyte
	maxPage  = 100 // users per answer
)

// Service is the user service.
type Service struct {
	store  *store
	tokens *token.Keys
	key    []byte
	secret string // of the run
	remote cache.Remote
	mailer *wire.Client // asked by the switch sync-mail alone
	on     func(name string, absent bool) bool
	log    *slog.Logger
}

// New returns the service's routes. It calls nobody but the broker.
func New(n *wire.Node) (*http.ServeMux, error) {
	store, err := openStore(n)
	if err != nil {
		return nil, err
	}
	s := &Service{store: store, key: n.Key(), secret: n.Secret(), log: n.Logger()}
	s.remote, _ = n.Cache()
	s.mailer, s.on = n.Client("mailer", false), n.On
	if s.tokens, err = token.NewKeys("users", "gateway", s.key); err != nil {
		return nil, err
	}
	for id, name := range []string{1: "Alice", 2: "Bob"} {
		if id == 0 {
			continue
		}
		if err := s.seed(id, name); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /users", wire.Handler(s.list))
	mux.Handle("POST /users", wire.Handler(s.create))
	mux.Handle("GET /users/{id}", wire.Handler(s.get))
	mux.Handle("POST /sessions", wire.Handler(s.signIn))
	mux.Handle("GET /sessions/{sid}", wire.Handler(s.session))
	mux.Handle("DELETE /sessions/{sid}", wire.Handler(s.signOut))
	return mux, nil
}

// seed writes one of the first users, once: the event's id is the same each time.
func (s *Service) seed(id int, name string) error {
	sh, err := s.store.of(id)
	if err != nil {
		return err
	}
	event, err := codec.Encode(UserSignedUp{id, name})
	if err != nil {
		return err
	}
	event.ID, event.Stream = "first-"+strconv.Itoa(id), streamOf(id)
	_, err = sh.log.Append(context.Background(), []eventsource.Event{event})
	return err
}

// FirstSecret is the secret of a user who has not signed up, Alice or Bob: it is made
// from the key of the run, so that it stands nowhere.
func FirstSecret(key []byte, id int) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte("secret of " + strconv.Itoa(id)))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// list answers with the users behind ?after=, at most ?limit= of them. It shows
// what anybody may see, which an email is not.
func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	after, err := wire.Number(r, "after", 0)
	if err != nil {
		return err
	}
	limit, err := wire.Number(r, "limit", maxPage)
	if err != nil {
		return err
	}
	page := s.store.page(after, min(limit, maxPage))
	for i := range page {
		page[i].Email = ""
	}
	return wire.WriteJSON(w, http.StatusOK, page)
}

// create signs a user up. An id in the body is refused by Decode, since it is
// not on the list of what a client may set.
func (s *Service) create(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name  string `json:"name"`
		Email string `json:"email"`
	}
	if err := wire.Decode(w, r, &in, "name", "email"); err != nil {
		return err
	}
	name := strings.TrimSpace(in.Name)
	if n := utf8.RuneCountInString(name); n == 0 || n > maxName {
		return wire.Invalid("name must have 1 to "+strconv.Itoa(maxName)+" characters", "name")
	}
	if in.Email != "" && (!strings.Contains(in.Email, "@") || len(in.Email) > maxEmail) {
		return wire.Invalid("email must contain @ and have at most "+strconv.Itoa(maxEmail)+" bytes", "email")
	}
	id, err := s.store.ids.take(r.Context())
	if err != nil {
		return err
	}
	secret := rand.Text()
	events := []Event{UserSignedUp{id, name}, SecretSet{hash(secret)}}
	if in.Email != "" { // one append: a user without his mail cannot be
		events = append(events, EmailKnown{in.Email},
			MailRequested{To: in.Email, Subject: "Welcome!", Body: "Thank you for signing up"})
	}
	if err := s.store.append(r.Context(), id, events...); err != nil {
		return err
	}
	if in.Email != "" && s.on("sync-mail", false) {
		if err := s.mailed(r.Context(), in.Email); err != nil {
			return err
		}
	}
	w.Header().Set("Location", "/users/"+strconv.Itoa(id))
	return wire.WriteJSON(w, http.StatusCreated, struct {
		User
		Secret string `json:"secret"`
	}{User{ID: id, Name: name, Email: in.Email}, secret})
}

// mailed is what the switch sync-mail adds: a sign-up that waits for the mail to be
// sent, and fails when the mailer is out, although all it needs is its own log. Two
// services that must be up at once are one service in two places.
func (s *Service) mailed(ctx context.Context, to string) error {
	body, err := json.Marshal(MailRequested{To: to, Subject: "Welcome!", Body: "Thank you for signing up"})
	if err != nil {
		return err
	}
	answer, err := s.mailer.Do(ctx, wire.Request{Method: http.MethodPost, Path: "/send", Body: body})
	if err != nil {
		return wire.Unavailable("mailer", err)
	}
	if answer.Status >= 300 {
		return wire.Unavailable("mailer", &wire.StatusError{Response: answer})
	}
	return nil
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret)) // 130 random bits need no slow hash
	return hex.EncodeToString(sum[:])
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	// What is no number is no user either: to a client both are a link that leads
	// nowhere.
	id, err := strconv.Atoi(r.PathValue("id"))
	u, ok := s.store.user(id)
	if err != nil || !ok {
		return wire.NewProblem(http.StatusNotFound, "user-not-found", "User not found")
	}
	if wire.Owns(r, id) != nil {
		u.Email = ""
	}
	return wire.WriteJSON(w, http.StatusOK, u)
}
