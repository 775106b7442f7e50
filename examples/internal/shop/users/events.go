package users

import (
	"time"

	"github.com/keelson-go/keelson/eventsource"
)

// Event is what happens to a user.
type Event interface{ isEvent() }

// The events.
type (
	// UserSignedUp goes to the topic user-events as well, so it holds nothing that
	// is nobody else's business.
	UserSignedUp struct {
		ID   int    `json:"userId"`
		Name string `json:"name"`
	}
	// EmailKnown and SecretSet stay here.
	EmailKnown struct {
		Email string `json:"email"`
	}
	// SecretSet holds a hash: the secret itself is told once, at sign-up.
	SecretSet struct {
		Hash string `json:"hash"`
	}
	// MailRequested goes to email-queue, in the words of that queue.
	MailRequested struct {
		To      string `json:"to"`
		Subject string `json:"subject"`
		Body    string `json:"body"`
	}
	// SessionStarted is a sign-in.
	SessionStarted struct {
		ID      string    `json:"sid"`
		User    int       `json:"userId"`
		Expires time.Time `json:"expires"`
	}
	// SessionEnded is a sign-out.
	SessionEnded struct {
		ID string `json:"sid"`
	}
)

func (UserSignedUp) isEvent()   {}
func (EmailKnown) isEvent()     {}
func (SecretSet) isEvent()      {}
func (MailRequested) isEvent()  {}
func (SessionStarted) isEvent() {}
func (SessionEnded) isEvent()   {}

var codec = eventsource.NewCodec(map[string]Event{
	"UserSignedUp": UserSignedUp{}, "EmailKnown": EmailKnown{}, "SecretSet": SecretSet{}, "MailRequested": MailRequested{},
	"SessionStarted": SessionStarted{}, "SessionEnded": SessionEnded{},
})

// User is what the service answers with.
type User struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
	hash  string // of the secret
}

// Session is a sign-in that has not ended.
type Session struct {
	User    int       `json:"userId"`
	Expires time.Time `json:"expires"`
}

// people is the read model of one shard.
type people struct {
	users    map[int]User
	sessions map[string]Session
	swept    int // sessions when those that expired were last removed
}

func newPeople() *people { return &people{users: map[int]User{}, sessions: map[string]Session{}} }

// Folded is all of it: what a User hides from clients is in the state all the same.
func (p *people) Folded() any {
	hashes := make(map[int]string, len(p.users))
	for id, u := range p.users {
		hashes[id] = u.hash
	}
	return []any{p.users, hashes, p.sessions, p.swept}
}

func (p *people) evolve(r eventsource.Recorded, e Event) *people {
	id, _ := idOf(r.Stream)
	u := p.users[id]
	switch e := e.(type) {
	case UserSignedUp:
		u.ID, u.Name = e.ID, e.Name
	case EmailKnown:
		u.Email = e.Email
	case SecretSet:
		u.hash = e.Hash
	case SessionStarted:
		p.sessions[e.ID] = Session{e.User, e.Expires}
		p.sweep(r.Time)
	case SessionEnded:
		delete(p.sessions, e.ID)
	}
	if u.ID != 0 {
		p.users[id] = u
	}
	return p
}

// sweep removes what has expired, whenever there are twice as many sessions as were
// left the last time.
func (p *people) sweep(now time.Time) {
	if len(p.sessions) < 2*p.swept+100 {
		return
	}
	for id, s := range p.sessions {
		if s.Expires.Before(now) {
			delete(p.sessions, id)
		}
	}
	p.swept = len(p.sessions)
}
