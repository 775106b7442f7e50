// Package token makes and checks JSON Web Tokens (RFC 7519) signed by HMAC-SHA256,
// and nothing else. What a library would add is a choice of algorithms, which is what
// most attacks on tokens have used; leaving it out is the point.
//
// Who can verify such a token can mint one. That is right where issuer and verifier
// are one party, as in a shop whose gateway trusts its user service. Where they are
// not, take signatures with a public key (EdDSA) from a well-kept library.
package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// ErrInvalid is all that a caller learns of a token that does not hold. Which check
// it failed is in the text, for the log and never for the client, to whom it would
// be advice.
var ErrInvalid = errors.New("token: invalid")

func invalid(why string) error { return fmt.Errorf("%w: %s", ErrInvalid, why) }

const (
	minKey  = 32 // bytes, the size of the hash (RFC 7518, 3.2)
	maxSize = 4096
	leeway  = 5 * time.Second // of the clocks of two hosts
	maxLife = 15 * time.Minute
)

// Claims are what a token says. All but NotBefore, Role and Plan are required.
type Claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  Audience `json:"aud"`
	IssuedAt  Seconds  `json:"iat"`
	Expires   Seconds  `json:"exp"`
	NotBefore Seconds  `json:"nbf,omitempty"`
	Session   string   `json:"sid"`
	Role      string   `json:"role,omitempty"`
	Plan      string   `json:"plan,omitempty"`
}

// Seconds since 1970, whole or not: both are allowed by the standard.
type Seconds float64

func (s Seconds) time() time.Time { return time.UnixMilli(int64(math.Round(float64(s) * 1000))) }

// At is t as a claim.
func At(t time.Time) Seconds { return Seconds(t.Unix()) }

// Audience is a string or a list of strings.
type Audience []string

// UnmarshalJSON takes both forms.
func (a *Audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// Keys signs and verifies for one issuer and audience. The first key signs; a second
// one, the former, still verifies, so that keys can be rotated.
type Keys struct {
	issuer, audience string
	ids              []string
	secrets          [][]byte
}

// NewKeys returns keys for one or two secrets of at least 32 bytes each.
func NewKeys(issuer, audience string, secrets ...[]byte) (*Keys, error) {
	if len(secrets) < 1 || len(secrets) > 2 {
		return nil, fmt.Errorf("token: %d keys: want one, or two while rotating", len(secrets))
	}
	k := &Keys{issuer: issuer, audience: audience, secrets: secrets}
	for i, secret := range secrets {
		if len(secret) < minKey {
			return nil, fmt.Errorf("token: key %d has %d bytes: want at least %d", i+1, len(secret), minKey)
		}
		sum := sha256.Sum256(secret)
		k.ids = append(k.ids, base64.RawURLEncoding.EncodeToString(sum[:6]))
	}
	return k, nil
}

type header struct {
	Algorithm string          `json:"alg"`
	Type      string          `json:"typ,omitempty"`
	KeyID     string          `json:"kid,omitempty"`
	Critical  json.RawMessage `json:"crit,omitempty"`
}

// Sign returns a token for c, whose issuer and audience it sets.
func (k *Keys) Sign(c Claims) (string, error) {
	c.Issuer, c.Audience = k.issuer, Audience{k.audience}
	head, err := json.Marshal(header{Algorithm: "HS256", Type: "JWT", KeyID: k.ids[0]})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac(k.secrets[0], signed)), nil
}

func mac(secret []byte, signed string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	return h.Sum(nil)
}

// Verify returns the claims of a token that holds now; any error matches ErrInvalid.
// Nothing is read of the claims before the signature over the bytes that were
// received has been checked.
func (k *Keys) Verify(text string, now time.Time) (Claims, error) {
	var c Claims
	parts := strings.Split(text, ".")
	if len(text) > maxSize || len(parts) != 3 {
		return c, invalid("it is too long, or has not three parts")
	}
	var h header
	if err := decode(parts[0], &h); err != nil {
		return c, err
	}
	// Compared with what is configured, never used to choose: "none", "hs256" and
	// RS256, whose public key would be our secret, all end here.
	if h.Algorithm != "HS256" || h.Critical != nil {
		return c, invalid("the algorithm is another, or something is critical")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || !k.signed(h.KeyID, parts[0]+"."+parts[1], signature) {
		return c, invalid("the signature does not hold")
	}
	if err := decode(parts[1], &c); err != nil {
		return c, err
	}
	return c, k.check(c, now)
}

// signed tries the key of that id, or all without one.
func (k *Keys) signed(id, text string, signature []byte) bool {
	for i, secret := range k.secrets {
		if (id == "" || id == k.ids[i]) && hmac.Equal(signature, mac(secret, text)) {
			return true
		}
	}
	return false
}

func (k *Keys) check(c Claims, now time.Time) error {
	mine := false
	for _, a := range c.Audience {
		mine = mine || a == k.audience
	}
	switch {
	case c.Issuer != k.issuer || !mine:
		return invalid("it is from, or for, somebody else")
	case c.Subject == "" || c.Session == "" || c.IssuedAt == 0 || c.Expires == 0:
		return invalid("a claim is missing")
	case now.After(c.Expires.time().Add(leeway)):
		return invalid("it has expired")
	case now.Add(leeway).Before(c.NotBefore.time()), now.Add(leeway).Before(c.IssuedAt.time()):
		return invalid("it is not valid yet")
	case c.Expires.time().Sub(c.IssuedAt.time()) > maxLife:
		return invalid("it lives too long")
	}
	return nil
}

// decode reads one part. A member that comes twice is refused: decoders disagree on
// which one counts, and the one who checks must not read another than the one who
// acts.
func decode(part string, v any) error {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return invalid("it is not base64url")
	}
	if err := unique(json.NewDecoder(bytes.NewReader(data))); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return invalid("it is not JSON of the right form")
	}
	return nil
}

// unique walks through one value and refuses repeated members of its objects, also
// those that differ in case alone, which encoding/json takes for the same.
func unique(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return invalid("it is not JSON")
	}
	open, nested := t.(json.Delim)
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			text, ok := name.(string)
			if err != nil || !ok || seen[strings.ToLower(text)] {
				return invalid("a member comes twice")
			}
			seen[strings.ToLower(text)] = true
		}
		if err := unique(d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return invalid("it is not JSON")
	}
	return nil
}

// Bearer returns the token of the one Authorization header, whose scheme may be in
// any case. Tokens in a query or a cookie are not looked for: both leak.
func Bearer(headers []string) (string, error) {
	if len(headers) != 1 {
		return "", invalid("there is not one Authorization header")
	}
	scheme, text, ok := strings.Cut(headers[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || text == "" || strings.ContainsAny(text, " ,") {
		return "", invalid("it is no bearer token")
	}
	return text, nil
}
