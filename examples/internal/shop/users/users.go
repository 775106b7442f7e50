// Package users is the user service: sign-up, and look-up by id. In this version
// users live in memory and end with the process; a restarted service knows Alice
// and Bob only.
package users

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/keelson-go/keelson/examples/internal/shop/wire"
)

// User is what the service answers with.
type User struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}

const (
	maxUsers = 100_000 // what memory is set aside for
	maxName  = 100     // characters
	maxEmail = 254     // bytes, of RFC 5321; also what keeps a page of users below a megabyte
	maxPage  = 100     // users per answer
)

// Service holds the users. Ids count up from 1 and are given by the service
// alone, so the user with id n stands at index n-1.
type Service struct {
	mu    sync.RWMutex
	users []User
}

// New returns the service's routes, with Alice (1) and Bob (2). It calls nobody.
func New(*wire.Node) (*http.ServeMux, error) {
	s := &Service{users: []User{{ID: 1, Name: "Alice"}, {ID: 2, Name: "Bob"}}}
	mux := http.NewServeMux()
	mux.Handle("GET /users", wire.Handler(s.list))
	mux.Handle("POST /users", wire.Handler(s.create))
	mux.Handle("GET /users/{id}", wire.Handler(s.get))
	return mux, nil
}

// list answers with the users behind ?after=, at most ?limit= of them.
func (s *Service) list(w http.ResponseWriter, r *http.Request) error {
	after, err := wire.Number(r, "after", 0)
	if err != nil {
		return err
	}
	limit, err := wire.Number(r, "limit", maxPage)
	if err != nil {
		return err
	}
	s.mu.RLock()
	first := min(after, len(s.users)) // ids have no gaps, so "behind id n" is "from index n"
	page := s.users[first:min(first+min(limit, maxPage), len(s.users))]
	s.mu.RUnlock() // users never change, so the slice may be read without the lock
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
	user, ok := s.add(name, in.Email)
	if !ok {
		// Not a 5xx, though it is the service's own limit: to a breaker a 507 is
		// a failure, and a list that is full would take every look-up with it.
		return wire.NewProblem(http.StatusConflict, "full", "this demo keeps "+strconv.Itoa(maxUsers)+" users in memory; restart it")
	}
	w.Header().Set("Location", "/users/"+strconv.Itoa(user.ID))
	return wire.WriteJSON(w, http.StatusCreated, user)
}

// add gives out the id under the same lock that makes the user visible, so no
// two callers get the same one.
func (s *Service) add(name, email string) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.users) == maxUsers {
		return User{}, false
	}
	u := User{ID: len(s.users) + 1, Name: name, Email: email}
	s.users = append(s.users, u)
	return u, true
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("id"))
	s.mu.RLock()
	defer s.mu.RUnlock()
	// What is no number is no user either: to a client both are a link that leads
	// nowhere.
	if err != nil || id < 1 || id > len(s.users) {
		return wire.NewProblem(http.StatusNotFound, "user-not-found", "User not found")
	}
	return wire.WriteJSON(w, http.StatusOK, s.users[id-1])
}
