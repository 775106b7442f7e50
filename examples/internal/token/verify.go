package token

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"
)

// Verify returns the claims of a token that one of the keys has signed, that is
// meant for this audience, and whose time is now. Any error matches ErrInvalid.
func (k *Keys) Verify(text string, now time.Time) (Claims, error) {
	signed, signature, ok := cutLast(text)
	header, claims, two := strings.Cut(signed, ".")
	if !ok || !two || strings.Contains(claims, ".") || len(text) > maxBytes {
		return Claims{}, refused("not three segments within 4 KiB")
	}
	key, err := k.choose(header)
	if err != nil {
		return Claims{}, err
	}
	// Over the bytes received, not over a new encoding of what they seem to mean,
	// and before anybody looks at what is claimed.
	if mac, err := decode(signature); err != nil || !hmac.Equal(mac, key.mac(signed)) {
		return Claims{}, refused("signature")
	}
	return k.read(claims, now)
}

func cutLast(text string) (before, after string, ok bool) {
	i := strings.LastIndexByte(text, '.')
	if i < 0 {
		return "", "", false
	}
	return text[:i], text[i+1:], true
}

// choose returns the key that the header names. The header may choose among the
// keys of the configuration, and nothing else: no algorithm, and no key from
// inside the token or from an address in it (jwk, jku, x5u).
func (k *Keys) choose(header string) (key, error) {
	h, err := members(header)
	if err != nil {
		return key{}, err
	}
	if alg, err := member[string](h, "alg"); err != nil || alg != "HS256" {
		return key{}, refused("alg")
	}
	if _, critical := h["crit"]; critical {
		return key{}, refused("crit") // it lists what one must understand; we understand none
	}
	kid, err := member[string](h, "kid")
	i := slices.IndexFunc(k.keys, func(k key) bool { return k.id == kid })
	if err != nil || i < 0 {
		return key{}, refused("kid")
	}
	return k.keys[i], nil
}

// read checks claims whose signature holds.
func (k *Keys) read(segment string, now time.Time) (Claims, error) {
	m, err := members(segment)
	r := reader{members: m, err: err}
	issuer, audience := r.text("iss"), r.audience()
	c := Claims{
		Subject: r.text("sub"), Session: r.text("sid"), Role: r.optional("role"), Plan: r.optional("plan"),
		IssuedAt: r.date("iat"), Expires: r.date("exp"),
	}
	if _, there := m["nbf"]; there {
		c.NotBefore = r.date("nbf")
	}
	issued, expires := c.IssuedAt.time(), c.Expires.time()
	switch {
	case r.err != nil:
		return Claims{}, r.err
	case issuer != k.issuer || !slices.Contains(audience, k.audience):
		return Claims{}, refused("iss or aud is another's")
	case !expires.After(issued) || expires.Sub(issued) > maxLife:
		return Claims{}, refused("exp is not within 15 minutes of iat")
	case !now.Before(expires.Add(leeway)):
		return Claims{}, refused("expired")
	case issued.After(now.Add(leeway)) || c.NotBefore.time().After(now.Add(leeway)):
		return Claims{}, refused("not valid yet")
	}
	return c, nil
}

// reader takes members one by one and keeps the first error.
type reader struct {
	members map[string]json.RawMessage
	err     error
}

func (r *reader) text(name string) string {
	s, err := member[string](r.members, name)
	if err == nil && s == "" {
		err = refused(name)
	}
	r.err = cmp.Or(r.err, err)
	return s
}

func (r *reader) optional(name string) string {
	if _, there := r.members[name]; !there {
		return ""
	}
	return r.text(name)
}

// date reads seconds since 1970, also fractions of them. What lies beyond the
// year 5138 was meant as milliseconds.
func (r *reader) date(name string) Seconds {
	s, err := member[Seconds](r.members, name)
	if err == nil && (s < 0 || s > 1e11) {
		err = refused(name)
	}
	r.err = cmp.Or(r.err, err)
	return s
}

// audience accepts both forms of aud, one name and a list.
func (r *reader) audience() []string {
	if one, err := member[string](r.members, "aud"); err == nil {
		return []string{one}
	}
	list, err := member[[]string](r.members, "aud")
	r.err = cmp.Or(r.err, err)
	return list
}

// member returns a required member. Null is not a value of T.
func member[T any](m map[string]json.RawMessage, name string) (v T, err error) {
	p := &v
	if json.Unmarshal(m[name], &p) != nil || p == nil {
		return v, refused(name)
	}
	return v, nil
}

// members decodes a JSON object by exact names. A name that comes twice is
// refused, as decoders disagree on which one counts; encoding/json would take the
// last, and even "EXP" for "exp".
func members(segment string) (map[string]json.RawMessage, error) {
	data, err := decode(segment)
	if err != nil {
		return nil, err
	}
	dec, all := json.NewDecoder(bytes.NewReader(data)), map[string]json.RawMessage{}
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, refused("no JSON object")
	}
	for dec.More() {
		var value json.RawMessage
		token, err := dec.Token()
		name, isName := token.(string)
		_, twice := all[name]
		if err != nil || !isName || twice || dec.Decode(&value) != nil {
			return nil, refused("a member is malformed or there twice")
		}
		all[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, refused("no JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, refused("something follows the JSON object")
	}
	return all, nil
}

// decode also refuses line breaks, which encoding/base64 skips.
func decode(segment string) ([]byte, error) {
	data, err := base64url.DecodeString(segment)
	if err != nil || strings.ContainsAny(segment, "\r\n") {
		return nil, refused("not base64url without padding")
	}
	return data, nil
}
