package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-go/keelson/examples/internal/token"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

const secret = "0123456789abcdef0123456789abcdef"

var (
	b64    = base64.RawURLEncoding
	header = `{"alg":"HS256","typ":"JWT","kid":"` + kid(secret) + `"}`
)

func kid(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return b64.EncodeToString(sum[:6])
}

func keys(t *testing.T, secrets ...string) *token.Keys {
	t.Helper()
	var all [][]byte
	for _, s := range secrets {
		all = append(all, []byte(s))
	}
	k, err := token.NewKeys("shop", "gateway", all...)
	require.NoError(t, err)
	return k
}

// minute is a life of one from now.
func minute(c token.Claims) token.Claims {
	c.IssuedAt, c.Expires = token.At(time.Now()), token.At(time.Now().Add(time.Minute))
	return c
}

// forge signs any header and claims with the right key.
func forge(header, claims string) string {
	return sign(b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims)))
}

func sign(text string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return text + "." + b64.EncodeToString(h.Sum(nil))
}

// claims are good ones, with changes: a nil value removes a member.
func claims(changes map[string]any) string {
	now := time.Now().Unix()
	all := map[string]any{"iss": "shop", "aud": "gateway", "sub": "1", "sid": "s", "iat": now, "exp": now + 60}
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	b, _ := json.Marshal(all)
	return string(b)
}

// refused checks that the reason is the expected one, so that no guard hides
// behind another.
func refused(t *testing.T, a *token.Keys, text, why string) {
	t.Helper()
	c, err := a.Verify(text, time.Now())
	assert.ErrorIs(t, err, token.ErrInvalid)
	assert.Equal(t, token.Claims{}, c)
	if err != nil {
		assert.Contains(t, err.Error(), why)
	}
}

func TestSignedClaimsComeBack(t *testing.T) {
	a := keys(t, secret)
	want := minute(token.Claims{Subject: "1", Session: "s-1", Role: "customer", Plan: "unmetered", NotBefore: token.At(time.Now())})
	text, err := a.Sign(want)
	require.NoError(t, err)
	got, err := a.Verify(text, time.Now())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	_, err = a.Sign(token.Claims{Expires: token.Seconds(math.NaN())})
	assert.Error(t, err)
}

// J1: the configuration chooses the algorithm, the token does not.
func TestOnlyHS256IsTaken(t *testing.T) {
	a := keys(t, secret)
	_, err := a.Verify(forge(header, claims(nil)), time.Now())
	require.NoError(t, err)
	for _, alg := range []string{`"none"`, `"None"`, `"hs256"`, `"RS256"`, `"HS512"`, `""`, `null`, `["HS256"]`} {
		refused(t, a, forge(`{"alg":`+alg+`,"kid":"`+kid(secret)+`"}`, claims(nil)), "alg")
	}
	refused(t, a, forge(`{"kid":"`+kid(secret)+`"}`, claims(nil)), "alg")
	unsigned := b64.EncodeToString([]byte(`{"alg":"none","kid":"`+kid(secret)+`"}`)) + "." + b64.EncodeToString([]byte(claims(nil))) + "."
	refused(t, a, unsigned, "alg")
}

// J2: three segments, one spelling of each, at most 4 KiB.
func TestFormIsStrict(t *testing.T) {
	a := keys(t, secret)
	good := forge(header, claims(nil))
	parts := strings.Split(good, ".")
	for _, text := range []string{"", ".", "..", parts[0], parts[0] + "." + parts[1], good + ".", good + "." + parts[2]} {
		_, err := a.Verify(text, time.Now())
		assert.ErrorIs(t, err, token.ErrInvalid, text)
	}
	refused(t, a, good+"."+parts[2], "three segments")
	refused(t, a, sign(parts[0]+"."+parts[1]+"."+parts[1]), "three segments")
	refused(t, a, sign(parts[0]+"=."+parts[1]), "base64url")
	refused(t, a, sign(parts[0]+"\n."+parts[1]), "base64url")
	refused(t, a, sign(parts[0]+"."+parts[1]+"="), "base64url")
	refused(t, a, sign(parts[0]+"."+parts[1][:4]+"\r\n"+parts[1][4:]), "base64url")
	refused(t, a, good+"=", "signature")
	refused(t, a, otherSpelling(good), "signature")
	refused(t, a, forge(header, claims(map[string]any{"pad": strings.Repeat("x", 4<<10)})), "4 KiB")
	refused(t, a, forge(header, "[]"), "object")
	refused(t, a, forge(header, claims(nil)+"{}"), "follows")
	refused(t, a, forge(header, strings.TrimSuffix(claims(nil), "}")), "object")
}

// otherSpelling changes the unused low bits of the last character: 32 bytes take
// 43 characters, of which the last has two bits that mean nothing.
func otherSpelling(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last^1])
}

// J3: the signature is over the bytes received, and comes before any claim.
func TestSignatureComesBeforeClaims(t *testing.T) {
	a := keys(t, secret)
	parts := strings.Split(forge(header, claims(nil)), ".")
	broken := b64.EncodeToString([]byte("{not JSON"))
	refused(t, a, parts[0]+"."+broken+"."+parts[2], "signature")
	_, err := a.Verify(forge(header, " "+claims(nil)+" "), time.Now()) // no re-encoding would give these bytes
	assert.NoError(t, err)
	other := b64.EncodeToString([]byte(claims(map[string]any{"sub": "2"})))
	refused(t, a, parts[0]+"."+other+"."+parts[2], "signature")
	refused(t, a, parts[0]+"."+parts[1]+"."+parts[2][:20], "signature")
	refused(t, a, parts[0]+"."+parts[1]+".", "signature")
}

// J4: decoders disagree on which of two equal names counts.
func TestRepeatedMembersAreRefused(t *testing.T) {
	a := keys(t, secret)
	twice := strings.Replace(claims(nil), `"sub":"1"`, `"sub":"2","sub":"1"`, 1)
	refused(t, a, forge(header, twice), "twice")
	escaped := strings.Replace(claims(nil), `"sub":"1"`, `"sub":"2","\u0073ub":"1"`, 1)
	refused(t, a, forge(header, escaped), "twice")
	refused(t, a, forge(`{"alg":"none",`+header[1:], claims(nil)), "twice")
	upper := strings.Replace(claims(nil), `"sub":"1"`, `"SUB":"2","sub":"1"`, 1)
	c, err := a.Verify(forge(header, upper), time.Now()) // another name, and not ours
	assert.NoError(t, err)
	assert.Equal(t, "1", c.Subject)
	refused(t, a, forge(header, strings.Replace(claims(nil), `"sub"`, `"SUB"`, 1)), "sub")
}

// J5: crit is refused, kid chooses among our own keys, and a key that the token
// brings or points at is never used.
func TestKeysComeFromTheConfigurationAlone(t *testing.T) {
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer server.Close()
	former := strings.Repeat("old!", 8)
	old, err := keys(t, former).Sign(minute(token.Claims{Subject: "1", Session: "s"}))
	require.NoError(t, err)
	both, onlyNew := keys(t, secret, former), keys(t, secret)
	_, err = both.Verify(old, time.Now())
	assert.NoError(t, err, "a token of before the rotation")
	refused(t, onlyNew, old, "kid")

	refused(t, onlyNew, forge(`{"alg":"HS256","kid":"`+kid(secret)+`","crit":["exp"]}`, claims(nil)), "crit")
	refused(t, onlyNew, forge(`{"alg":"HS256"}`, claims(nil)), "kid")
	refused(t, onlyNew, forge(`{"alg":"HS256","kid":"`+kid(former)+`"}`, claims(nil)), "kid")
	refused(t, both, forge(`{"alg":"HS256","kid":"`+kid(former)+`"}`, claims(nil)), "signature")
	brought := strings.Repeat("mine", 8)
	h := fmt.Sprintf(`{"alg":"HS256","kid":%q,"jku":%q,"x5u":%q,"jwk":{"kty":"oct","k":%q}}`,
		kid(secret), server.URL, server.URL, b64.EncodeToString([]byte(brought)))
	text := b64.EncodeToString([]byte(h)) + "." + b64.EncodeToString([]byte(claims(nil)))
	mac := hmac.New(sha256.New, []byte(brought))
	mac.Write([]byte(text))
	refused(t, both, text+"."+b64.EncodeToString(mac.Sum(nil)), "signature")
	assert.False(t, asked, "the address in the token was asked")

	for _, secrets := range [][][]byte{{}, {[]byte(secret), []byte(secret), []byte(secret)}} {
		_, err := token.NewKeys("shop", "gateway", secrets...)
		assert.Error(t, err, "%d secrets", len(secrets))
	}
	for _, names := range [][2]string{{"", "gateway"}, {"shop", ""}} {
		_, err := token.NewKeys(names[0], names[1], []byte(secret))
		assert.Error(t, err, "%v", names)
	}
}

// J6: the claims that are required, their types, and the times.
func TestClaimsAreRequiredAndTimely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := keys(t, secret)
		now := time.Now().Unix()
		for why, changes := range map[string][]map[string]any{
			"sub": {{"sub": nil}, {"sub": ""}, {"sub": 1}}, "sid": {{"sid": nil}, {"sid": []string{"s"}}},
			"iss": {{"iss": nil}, {"iss": "bank"}}, "aud": {{"aud": nil}, {"aud": "bank"}, {"aud": []any{"gateway", 1}}, {"aud": []string{}}},
			"iat": {{"iat": nil}, {"iat": "now"}}, "exp": {{"exp": nil}, {"exp": fmt.Sprint(now + 60)}, {"exp": now * 1000}},
			"nbf": {{"nbf": -1}, {"nbf": true}, {"nbf": json.RawMessage("null")}}, "role": {{"role": 7}}, "plan": {{"plan": ""}},
			"within 15 minutes": {{"exp": now + 901}, {"exp": now}, {"exp": now - 1}},
			"expired":           {{"iat": now - 60, "exp": now - 5}, {"iat": now - 60, "exp": float64(now) - 5.001}},
			"not valid yet":     {{"iat": now + 6}, {"nbf": now + 6}},
		} {
			for _, c := range changes {
				refused(t, a, forge(header, claims(c)), why)
			}
		}
		refused(t, a, forge(header, strings.Replace(claims(nil), `"sub":"1"`, `"sub":null`, 1)), "sub")
		for _, c := range []map[string]any{
			{"aud": []string{"bank", "gateway"}},
			{"exp": now + 900},
			{"iat": now - 60, "exp": float64(now) - 4.5},
			{"iat": now + 5},
			{"nbf": float64(now) + 4.5},
		} {
			_, err := a.Verify(forge(header, claims(c)), time.Now())
			assert.NoError(t, err, "%v", c)
		}
		text, err := a.Sign(minute(token.Claims{Subject: "1", Session: "s"}))
		require.NoError(t, err)
		time.Sleep(65*time.Second - time.Microsecond)
		_, err = a.Verify(text, time.Now())
		assert.NoError(t, err)
		time.Sleep(time.Microsecond)
		refused(t, a, text, "expired")
	})
}

// J7: exactly one Authorization header, and no other place.
func TestOneAuthorizationHeader(t *testing.T) {
	for _, value := range []string{"Bearer x.y.z", "bearer x.y.z", "BEARER  x.y.z"} {
		text, err := token.Bearer([]string{value})
		assert.NoError(t, err)
		assert.Equal(t, "x.y.z", text)
	}
	for _, values := range [][]string{nil, {"Bearer x", "Bearer x"}, {"Bearer x", ""}, {"Basic eDp5"}, {"x.y.z"}, {""}, {"Bearer "}, {"Bearer x, Bearer y"}} {
		_, err := token.Bearer(values)
		assert.ErrorIs(t, err, token.ErrInvalid, "%v", values)
	}
}

// J8: a short key is an error at start, and nothing prints a key or a token.
func TestSecretsAreLongAndStaySecret(t *testing.T) {
	_, err := token.NewKeys("shop", "gateway", []byte(secret[:31]))
	require.Error(t, err)
	assert.False(t, strings.Contains(err.Error(), secret[:8]))

	a := keys(t, secret)
	var printed strings.Builder
	for _, v := range []any{a, *a} {
		j, _ := json.Marshal(v)
		fmt.Fprintf(&printed, "%v %+v %#v %x %d %s %q\n", v, v, v, v, v, v, j)
		slog.New(slog.NewJSONHandler(&printed, nil)).Info("key", "key", v)
		slog.New(slog.NewTextHandler(&printed, nil)).Info("key", "key", v)
	}
	bytes := strings.Trim(fmt.Sprint([]byte(secret)[:4]), "[]")
	for _, form := range []string{secret[:8], fmt.Sprintf("%x", secret[:8]), bytes, base64.StdEncoding.EncodeToString([]byte(secret))[:8]} {
		assert.False(t, strings.Contains(printed.String(), form), form)
	}
	bad := forge(header, claims(map[string]any{"sub": 7, "role": "tell-nobody"}))
	_, err = a.Verify(bad, time.Now())
	require.Error(t, err)
	for _, part := range append(strings.Split(bad, "."), "tell-nobody") {
		assert.False(t, strings.Contains(err.Error(), part))
	}
}

// Whatever comes in, Verify answers, and accepts only what it would sign itself.
func FuzzVerify(f *testing.F) {
	a, _ := token.NewKeys("shop", "gateway", []byte(secret))
	f.Add(forge(header, claims(nil)), header, claims(nil))
	f.Add("..", `{"alg":"none"}`, `{"sub":1e999}`)
	f.Fuzz(func(t *testing.T, text, header, claims string) {
		if c, err := a.Verify(forge(header, claims), time.Now()); err == nil && (c.Subject == "" || c.Expires-c.IssuedAt > 900) {
			t.Errorf("accepted %q %q as %+v", header, claims, c)
		}
		parts := strings.Split(text, ".")
		if _, err := a.Verify(text, time.Now()); err == nil && text != sign(strings.Join(parts[:len(parts)-1], ".")) {
			t.Errorf("accepted %q", text)
		}
	})
}
