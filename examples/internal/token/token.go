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
	"slices"
	"strings"
	"time"
)

const (
	maxLife = 15 * time.Minute
	leeway  = 5 * time.Second // between the clocks of issuer and verifier

	maxBytes  = 4 << 10 // of a token
	minSecret = 32      // bytes: the size of the hash (RFC 7518, section 3.2)
)

// ErrInvalid is matched by every refusal of a token. The text says why, for a log,
// and holds no part of the token; clients get one answer for all of them, since a
// reason would be advice.
var ErrInvalid = errors.New("token: invalid")

func refused(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }

// base64url decoding is strict, or one signature would have several spellings.
var base64url = base64.RawURLEncoding.Strict()

// Claims say who somebody is, and for how long. Role, Plan and NotBefore may be zero.
type Claims struct {
	Subject    string // who
	Session    string // what ends when they sign out
	Role, Plan string

	// A token lives at most 15 minutes from IssuedAt to Expires.
	IssuedAt, Expires, NotBefore Seconds
}

// Seconds since 1970, whole or not: the NumericDate of RFC 7519.
type Seconds float64

// At is t as a claim, in milliseconds.
func At(t time.Time) Seconds { return Seconds(float64(t.UnixMilli()) / 1000) }

func (s Seconds) time() time.Time { return time.UnixMicro(int64(s * 1e6)) }

// Keys signs and verifies for one issuer and one audience. It is immutable and safe
// for concurrent use.
type Keys struct {
	issuer, audience string
	keys             []key
}

// key has its secret in a closure, where no log line, no JSON and no %+v can reach it.
type key struct {
	id  string // kid
	mac func(text string) []byte
}

// NewKeys returns the keys of one or two secrets, each of at least 32 bytes of
// crypto/rand: a password could be guessed from a single token, offline. The first
// one signs. To rotate, put the new one first and keep the old one until the last of
// its tokens has expired.
func NewKeys(issuer, audience string, secrets ...[]byte) (*Keys, error) {
	if issuer == "" || audience == "" || len(secrets) < 1 || len(secrets) > 2 {
		return nil, fmt.Errorf("token: issuer %q, audience %q and %d secrets, want both names and 1 or 2 secrets", issuer, audience, len(secrets))
	}
	k := &Keys{issuer: issuer, audience: audience}
	for i, secret := range secrets {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("token: secret %d has %d bytes, want at least %d", i+1, len(secret), minSecret)
		}
		k.keys = append(k.keys, newKey(slices.Clone(secret)))
	}
	return k, nil
}

func newKey(secret []byte) key {
	sum := sha256.Sum256(secret) // of so many random bytes it tells nothing
	return key{id: base64url.EncodeToString(sum[:6]), mac: func(text string) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(text))
		return h.Sum(nil)
	}}
}

// Sign returns a token for c. What c says is Verify's business.
func (k *Keys) Sign(c Claims) (string, error) {
	claims := map[string]any{
		"iss": k.issuer, "aud": k.audience, "sub": c.Subject, "sid": c.Session, "iat": c.IssuedAt, "exp": c.Expires,
	}
	if c.NotBefore != 0 {
		claims["nbf"] = c.NotBefore
	}
	for name, value := range map[string]string{"role": c.Role, "plan": c.Plan} {
		if value != "" {
			claims[name] = value
		}
	}
	head, err1 := json.Marshal(map[string]string{"alg": "HS256", "typ": "JWT", "kid": k.keys[0].id})
	body, err2 := json.Marshal(claims)
	if err := errors.Join(err1, err2); err != nil {
		return "", fmt.Errorf("token: %w", err) // a time that is no number
	}
	text := base64url.EncodeToString(head) + "." + base64url.EncodeToString(body)
	return text + "." + base64url.EncodeToString(k.keys[0].mac(text)), nil
}

// Bearer returns the token of the one Authorization header. Two of them are
// refused, since proxies disagree on which counts; a query or a cookie is never
// looked at, for URLs end in logs and cookies are sent by foreign pages.
func Bearer(headers []string) (string, error) {
	if len(headers) != 1 {
		return "", refused("not exactly one Authorization header")
	}
	scheme, text, _ := strings.Cut(headers[0], " ")
	text = strings.TrimLeft(text, " ")
	if !strings.EqualFold(scheme, "Bearer") || text == "" || strings.ContainsAny(text, " ,") {
		return "", refused("no bearer token")
	}
	return text, nil
}
