// Package token makes and checks the JSON Web Tokens (RFC 7519) of the examples,
// signed with HMAC-SHA256 (HS256) by the standard library alone. What a library
// for JWT adds is a choice of algorithms, the very thing to leave out here: most
// holes in JWT are that somebody else made the choice (RFC 8725).
//
// Whoever can verify HS256 can mint it. As soon as issuer and verifier are
// different parties, take EdDSA from a well-kept library.
package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// MaxLife is the longest time between issue and expiry of a token.
	MaxLife = 15 * time.Minute
	// Leeway is how far the clocks of issuer and verifier may differ.
	Leeway = 5 * time.Second

	maxBytes  = 4 << 10 // of a token
	minSecret = 32      // bytes: the size of the hash (RFC 7518, section 3.2)
)

var (
	// ErrInvalid is matched by every refusal of a token. The text says why, for a
	// log, and holds no part of the token; clients get one answer for all of them.
	ErrInvalid = errors.New("token: invalid")
	// ErrMissing means that there is no Authorization header.
	ErrMissing = errors.New("token: no Authorization header")
)

// base64url decoding is strict, or one signature would have several spellings.
var base64url = base64.RawURLEncoding.Strict()

// Claims say who somebody is, and for how long.
type Claims struct {
	Subject    string // who
	Session    string // what ends when they sign out
	Role, Plan string // may be empty

	// Issued and Expires are set by Sign. Zero NotBefore means no such bound.
	Issued, Expires, NotBefore time.Time
}

// Key signs and verifies. The secret is in a closure, where no log line, no JSON
// and no %+v can reach it.
type Key struct {
	id  string
	mac func(text string) []byte
}

// NewKey returns the key that tokens name id (kid). The secret has at least 32
// bytes, from crypto/rand: a password can be guessed from one token, offline.
func NewKey(id string, secret []byte) (Key, error) {
	if id == "" || len(secret) < minSecret {
		return Key{}, fmt.Errorf("token: key %q has %d bytes, need a name and at least %d", id, len(secret), minSecret)
	}
	secret = slices.Clone(secret)
	return Key{id: id, mac: func(text string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(text))
		return h.Sum(nil)
	}}, nil
}

// Authority signs tokens with the first of its keys and verifies those of all.
// It is immutable and safe for concurrent use.
type Authority struct {
	issuer, audience string
	keys             []Key
}

// New returns an authority. To rotate, put the new key first and keep the old
// one, as the second, until the last of its tokens has expired.
func New(issuer, audience string, keys ...Key) (*Authority, error) {
	if issuer == "" || audience == "" || len(keys) < 1 || len(keys) > 2 {
		return nil, fmt.Errorf("token: issuer %q, audience %q and %d keys, need both names and 1 or 2 keys", issuer, audience, len(keys))
	}
	for _, k := range keys {
		if k.mac == nil || len(keys) == 2 && keys[0].id == keys[1].id {
			return nil, errors.New("token: keys are made by NewKey, and differ in their names")
		}
	}
	return &Authority{issuer: issuer, audience: audience, keys: slices.Clone(keys)}, nil
}

// Sign returns a token with these claims for a life of at most MaxLife from now.
func (a *Authority) Sign(c Claims, life time.Duration) (string, error) {
	if c.Subject == "" || c.Session == "" || life <= 0 || life > MaxLife {
		return "", fmt.Errorf("token: need a subject, a session and a life of at most %v, not %v", MaxLife, life)
	}
	now := time.Now()
	claims := map[string]any{
		"iss": a.issuer, "aud": a.audience, "sub": c.Subject, "sid": c.Session,
		"iat": seconds(now), "exp": seconds(now.Add(life)),
	}
	if !c.NotBefore.IsZero() {
		claims["nbf"] = seconds(c.NotBefore)
	}
	for name, value := range map[string]string{"role": c.Role, "plan": c.Plan} {
		if value != "" {
			claims[name] = value
		}
	}
	text := segment(map[string]string{"alg": "HS256", "typ": "JWT", "kid": a.keys[0].id}) + "." + segment(claims)
	return text + "." + base64url.EncodeToString(a.keys[0].mac(text)), nil
}

func segment(v any) string {
	b, _ := json.Marshal(v) // maps of strings and numbers always have JSON
	return base64url.EncodeToString(b)
}

// seconds are RFC 7519's NumericDate, in milliseconds: a whole second would make
// a token of a short life up to a second shorter.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// Bearer returns the token of the one Authorization header. Two of them are
// refused, since proxies disagree on which counts; a query or a cookie is never
// looked at, for URLs end in logs and cookies are sent by foreign pages.
func Bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return "", ErrMissing
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", refused("not exactly one bearer token")
	}
	return strings.TrimLeft(text, " "), nil
}

func refused(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }
