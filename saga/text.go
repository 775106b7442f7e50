package saga

import (
	"strings"
	"unicode/utf8"
)

// maxText bounds the text of an error in the log.
const maxText = 4 << 10

// clip makes any text one that every store keeps: valid UTF-8 without NUL, cut
// between characters.
func clip(text string, most int) string {
	text = text[:min(len(text), 2*most)]
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "\uFFFD")
	}
	if len(text) <= most {
		return text
	}
	end := most
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// validID: 1 to 255 printable ASCII characters without space, ordered bytewise on
// every store.
func validID(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return id != "" && len(id) <= 255
}

func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if !ok {
			return false
		}
	}
	return name != "" && len(name) <= 64
}
