package consume

import (
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Headers that a dead letter has beside its own.
const (
	HeaderTopic    = "keelson-topic"
	HeaderGroup    = "keelson-group"
	HeaderAttempts = "keelson-attempts"
	HeaderError    = "keelson-error"
)

const maxError = 1 << 10

// DeadHeaders returns the headers of the dead letter: own and why it died.
func DeadHeaders(own map[string]string, topic, group string, attempts int, cause error) map[string]string {
	headers := make(map[string]string, len(own)+4)
	maps.Copy(headers, own)
	headers[HeaderTopic] = topic
	headers[HeaderGroup] = group
	headers[HeaderAttempts] = strconv.Itoa(attempts)
	headers[HeaderError] = Clip(cause.Error())
	return headers
}

// Clip makes any text one that every broker carries: valid UTF-8 without NUL, of
// at most 1 KiB, cut between characters.
func Clip(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text[:min(len(text), 2*maxError)], "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= maxError {
		return text
	}
	end := maxError
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
