package token_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/keelson-go/keelson/examples/internal/token"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

var (
	secret = bytes.Repeat([]byte("k"), 32)
	now    = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

func keys(t testing.TB, secrets ...[]byte) *token.Keys {
	t.Helper()
	k, err := token.NewKeys("shop", "gateway", secrets...)
	require.NoError(t, err)
	return k
}

// forge signs what no library would.
func forge(secret []byte, head, body string) string {
	text := b64(head) + "." + b64(body)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(text))
	return text + "." + b64(string(h.Sum(nil)))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

const (
	head = `{"alg":"HS256"}`
	body = `{"iss":"shop","sub":"7","aud":"gateway","iat":1777636800,"exp":1777637100,"sid":"7.x"}`
)

func TestATokenHolds(t *testing.T) {
	k := keys(t, secret)
	text, err := k.Sign(token.Claims{Subject: "7", IssuedAt: token.At(now), Expires: token.At(now.Add(time.Minute)), Session: "7.x", Role: "customer"})
	require.NoError(t, err)
	c, err := k.Verify(text, now)
	require.NoError(t, err)
	assert.Equal(t, [3]string{"7", "7.x", "customer"}, [3]string{c.Subject, c.Session, c.Role})
	for name, good := range map[string]string{
		"by hand":                  forge(secret, head, body),
		"J6: audience as a list":   forge(secret, head, strings.Replace(body, `"gateway"`, `["other","gateway"]`, 1)),
		"J6: fractions of seconds": forge(secret, head, strings.Replace(body, `1777637100`, `1777637100.25,"nbf":1777636799.5`, 1)),
		"J6: expired within leeway": forge(secret, head, strings.Replace(strings.Replace(body, `1777637100`, `1777636796`, 1), `1777636800`,
			`1777636700`, 1)),
	} {
		_, err := k.Verify(good, now)
		assert.NoError(t, err, name)
	}
}

// J1 to J6: everything that must not pass.
func TestATokenThatDoesNotHold(t *testing.T) {
	replace := func(old, with string) string { return forge(secret, head, strings.Replace(body, old, with, 1)) }
	good := forge(secret, head, body)
	parts := strings.Split(good, ".")
	for name, bad := range map[string]string{
		"J1: none":                     b64(`{"alg":"none"}`) + "." + parts[1] + ".",
		"J1: none, signed":             forge(secret, `{"alg":"none"}`, body),
		"J1: lower case":               forge(secret, `{"alg":"hs256"}`, body),
		"J1: of a public key":          forge(secret, `{"alg":"RS256"}`, body),
		"J1: no algorithm":             forge(secret, `{}`, body),
		"J2: two parts":                parts[0] + "." + parts[1],
		"J2: four parts":               good + ".x",
		"J2: padded":                   good + "=",
		"J2: other alphabet":           parts[0] + "." + parts[1] + ".+" + parts[2][1:],
		"J2: loose last bits":          loosen(good),
		"J2: too long":                 forge(secret, head, strings.Replace(body, `"7.x"`, `"`+strings.Repeat("x", 4096)+`"`, 1)),
		"J3: another key":              forge(bytes.Repeat([]byte("x"), 32), head, body),
		"J3: changed":                  parts[0] + "." + b64(strings.Replace(body, `"7"`, `"1"`, 1)) + "." + parts[2],
		"J3: no signature":             parts[0] + "." + parts[1] + ".",
		"J4: a member twice":           replace(`"sub":"7"`, `"sub":"7","sub":"1"`),
		"J4: twice, in another case":   replace(`"sub":"7"`, `"sub":"7","SUB":"1"`),
		"J4: the algorithm twice":      forge(secret, `{"alg":"none","alg":"HS256"}`, body),
		"J5: something critical":       forge(secret, `{"alg":"HS256","crit":["exp"]}`, body),
		"J5: a key that is not ours":   forge(secret, `{"alg":"HS256","kid":"theirs"}`, body),
		"J6: no issuer":                replace(`"iss":"shop",`, ``),
		"J6: another issuer":           replace(`"shop"`, `"shop2"`),
		"J6: another audience":         replace(`"gateway"`, `"bank"`),
		"J6: no subject":               replace(`"sub":"7",`, ``),
		"J6: no iat":                   replace(`"iat":1777636800,`, ``),
		"J6: no exp":                   replace(`"exp":1777637100,`, ``),
		"J6: no session":               replace(`,"sid":"7.x"`, ``),
		"J6: expired":                  replace(`1777637100`, `1777636794`),
		"J6: not yet valid":            replace(`"sid"`, `"nbf":1777636806,"sid"`),
		"J6: from the future":          replace(`1777636800`, `1777636806`),
		"J6: lives longer than 15 min": replace(`1777637100`, `1777637701`),
		"not JSON":                     forge(secret, head, `{`),
		"more than an object":          forge(secret, head, body+`{}`),
		"empty":                        "",
	} {
		_, err := keys(t, secret).Verify(bad, now)
		assert.ErrorIs(t, err, token.ErrInvalid, name)
	}
}

// loosen changes the bits of the last character that a strict decoder looks at.
func loosen(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last^1])
}

// J5: while keys are rotated the former one still verifies; afterwards it does not.
func TestKeysCanBeRotated(t *testing.T) {
	next := bytes.Repeat([]byte("n"), 32)
	old, err := keys(t, secret).Sign(token.Claims{Subject: "7", IssuedAt: token.At(now), Expires: token.At(now.Add(time.Minute)), Session: "7.x"})
	require.NoError(t, err)
	_, err = keys(t, next, secret).Verify(old, now)
	assert.NoError(t, err)
	_, err = keys(t, next).Verify(old, now)
	assert.ErrorIs(t, err, token.ErrInvalid)
}

// J8: a short key is an error at the start.
func TestAShortKeyIsRefused(t *testing.T) {
	for _, secrets := range [][][]byte{{}, {secret[:31]}, {secret, secret[:5]}, {secret, secret, secret}} {
		_, err := token.NewKeys("shop", "gateway", secrets...)
		assert.Error(t, err)
	}
}

// J7: one header, of the scheme Bearer in any case.
func TestTheTokenStandsInOneHeader(t *testing.T) {
	for _, good := range []string{"Bearer x.y.z", "bearer x.y.z", "BEARER x.y.z"} {
		text, err := token.Bearer([]string{good})
		assert.NoError(t, err)
		assert.Equal(t, "x.y.z", text)
	}
	for _, bad := range [][]string{nil, {"Bearer a", "Bearer b"}, {"Basic x"}, {"Bearer"}, {"Bearer "}, {"Bearer a b"}, {"Bearer a,b"}, {""}} {
		_, err := token.Bearer(bad)
		assert.ErrorIs(t, err, token.ErrInvalid, bad)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(forge(secret, head, body))
	f.Add(forge(secret, `{"alg":"none"}`, body))
	f.Add("..")
	k := keys(f, secret)
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := k.Verify(text, now); err == nil {
			assert.Equal(t, "shop", c.Issuer)
		} else {
			assert.ErrorIs(t, err, token.ErrInvalid)
		}
	})
}
