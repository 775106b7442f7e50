package eventsource_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keelson-go/keelson/eventsource"
	"github.com/keelson-go/keelson/internal/assert"
	"github.com/keelson-go/keelson/internal/require"
)

func ExampleValidate() {
	err := eventsource.Validate([]eventsource.Event{{Type: "account.opened"}, {Stream: "account-7"}})
	fmt.Println(err)
	// Output: eventsource: invalid: Event.Type: "", required (events[1])
}

func TestValidateDoesNotAllocateForAnOrdinaryAppend(t *testing.T) {
	events := []eventsource.Event{
		{ID: "1", Stream: "account-7", Type: "account.deposited", Tags: []string{"customer:42"}, Data: []byte("{}")},
		{ID: "2", Stream: "account-8", Type: "account.deposited", Meta: map[string]string{"actor": "x"}},
	}
	conds := []eventsource.Condition{
		eventsource.AtVersion("account-7", 3), eventsource.Exists("account-8"),
		eventsource.NoneSince(eventsource.Stream("account-7"), 0), eventsource.Track("source", 1),
	}
	assert.NoError(t, eventsource.Validate(events, conds...))
	assert.Equal(t, 0.0, testing.AllocsPerRun(100, func() { _ = eventsource.Validate(events, conds...) }))
}

func TestErrorsNameTheFieldTheValueAndWhatIsAllowed(t *testing.T) {
	long := strings.Repeat("x", 300)
	for want, err := range map[string]error{
		`Event.Stream: "` + long[:64] + `"... (300 bytes), at most 255 bytes of UTF-8 without NUL (events[0])`: eventsource.Validate([]eventsource.Event{{Type: "t", Stream: long}}),
		`Event.Schema: -1, 0 to 2147483647 (events[0])`:                                                        eventsource.Validate([]eventsource.Event{{Type: "t", Schema: -1}}),
		`Condition: AtVersion("", 3), a stream or source that is not empty (conditions[0])`:                    eventsource.Validate(nil, eventsource.AtVersion("", 3)),
		`ReadOptions.Limit: -1, zero or more`:                                                                  eventsource.ReadOptions{Limit: -1}.Validate(),
		`checkpoint name: "track/x", "track/" is written by Track alone`:                                       eventsource.Checkpoint{}.Validate("track/x"),
	} {
		assert.ErrorIs(t, err, eventsource.ErrInvalid)
		assert.Equal(t, "eventsource: invalid: "+want, err.Error())
	}
}

func BenchmarkValidate(b *testing.B) {
	events := []eventsource.Event{{Stream: "account-7", Type: "account.deposited", Data: []byte("{}")}}
	b.ReportAllocs()
	for b.Loop() {
		_ = eventsource.Validate(events, eventsource.AtVersion("account-7", 3))
	}
}

// Eight bytes at a time must judge as one at a time does.
func FuzzTextsAreUTF8WithoutNUL(f *testing.F) {
	for _, s := range []string{"", "a", "\x00", "\x7f", "\x80", "\xff", "1234567\x00", "12345678\x00", "1234567ü", "ü", "日本語日本語", "12345678\xc3", "\x01\x00\x01\x00\x01\x00\x01\x00", "\xed\xa0\x80"} {
		f.Add(s)
		f.Add("12345678" + s + "12345678")
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 255 {
			return
		}
		good := utf8.ValidString(s) && !strings.Contains(s, "\x00")
		err := eventsource.Validate([]eventsource.Event{{Type: "t", Stream: s}})
		if good != (err == nil) {
			t.Fatalf("%q is valid: %v, Validate: %v", s, good, err)
		}
	})
}

// The look at eight bytes at a time agrees with the library's at one, at every length
// and with the odd byte anywhere.
func TestTextsAreUTF8WithoutNUL(t *testing.T) {
	for _, odd := range []string{"", "\x00", "\x7f", "\x80", "\xff", "é", "\xc3", "€", "\U0001F600", "\xed\xa0\x80"} {
		for before := range 20 {
			for after := range 20 {
				text := strings.Repeat("a", before) + odd + strings.Repeat("z", after)
				want := utf8.ValidString(text) && !strings.Contains(text, "\x00")
				require.Equal(t, want, eventsource.IsUTF8(text), text)
			}
		}
	}
}
