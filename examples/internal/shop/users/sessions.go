package users

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-go/keelson/cache"
	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/examples/internal/shop/wire"
	"github.com/keelson-go/keelson/examples/internal/token"
)

// life is that of a session and its token.
const life = 15 * time.Minute

// operator is Bob: whoever runs the shop.
const operator = 2

// signIn starts a session and answers with its token. The control part of the demo
// signs in as anybody, by the secret of the run, and for its load gets a plan that
// the gateway does not meter; nobody else can ask for one.
func (s *Service) signIn(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		User   int    `json:"userId"`
		Secret string `json:"secret"`
	}
	if err := wire.Decode(w, r, &in, "userId", "secret"); err != nil {
		return err
	}
	u, ok := s.store.user(in.User)
	control := wire.SecretMatches(r, s.secret)
	if !ok || !control && !s.matches(u, in.Secret) {
		// One answer for both: who exists is on GET /users, whose secret is right is not.
		return wire.NewProblem(http.StatusUnauthorized, "sign-in", "userId or secret is wrong")
	}
	now := time.Now()
	claims := token.Claims{
		Subject: strconv.Itoa(u.ID), IssuedAt: token.At(now), Expires: token.At(now.Add(life)),
		Session: strconv.Itoa(u.ID) + "." + rand.Text(), Role: roleOf(u.ID),
	}
	if control {
		claims.Plan = "unmetered"
	}
	text, err := s.tokens.Sign(claims)
	if err != nil {
		return err
	}
	started := SessionStarted{claims.Session, u.ID, now.Add(life).UTC()}
	if err := s.store.append(r.Context(), u.ID, started); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return wire.WriteJSON(w, http.StatusCreated, map[string]any{"token": text, "expiresIn": int(life.Seconds())})
}

func roleOf(user int) string {
	if user == operator {
		return "operator"
	}
	return "customer"
}

// matches compares in constant time, whoever the user is.
func (s *Service) matches(u User, secret string) bool {
	want := u.hash
	if want == "" {
		want = hash(FirstSecret(s.key, u.ID))
	}
	return subtle.ConstantTimeCompare([]byte(want), []byte(hash(secret))) == 1
}

// lookUp finds a session, whose id begins with the user's.
func (s *Service) lookUp(sid string) (Session, bool) {
	text, _, _ := strings.Cut(sid, ".")
	user, err := strconv.Atoi(text)
	if err != nil {
		return Session{}, false
	}
	sh, err := s.store.of(user)
	if err != nil {
		return Session{}, false
	}
	var found Session
	var ok bool
	sh.people.View(func(p *people, _ eventsource.Position) { found, ok = p.sessions[sid] })
	return found, ok && time.Now().Before(found.Expires)
}

// session tells the gateway whether a token's session still lives.
func (s *Service) session(w http.ResponseWriter, r *http.Request) error {
	found, ok := s.lookUp(r.PathValue("sid"))
	if !ok {
		return wire.NewProblem(http.StatusNotFound, "session-not-found", "no such session")
	}
	return wire.WriteJSON(w, http.StatusOK, found)
}

// signOut ends a session. One that has ended, or never was, is no error: it is not
// there, as was wished.
func (s *Service) signOut(w http.ResponseWriter, r *http.Request) error {
	sid := r.PathValue("sid")
	if found, ok := s.lookUp(sid); ok {
		if err := wire.Owns(r, found.User); err != nil {
			return err
		}
		if err := s.store.append(r.Context(), found.User, SessionEnded{sid}); err != nil {
			return err
		}
	}
	// Told to the gateways, who would go on believing for seconds. If L2 is out they do:
	// the session has ended all the same.
	if _, err := s.remote.Invalidate(r.Context(), cache.Message{Keys: []string{wire.SessionKey(sid)}}); err != nil {
		s.log.WarnContext(r.Context(), "a sign-out was not passed on", "err", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
