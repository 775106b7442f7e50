package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A floor that forgets what it was given is none.
func TestTheBareStoreGivesBackWhatItTook(t *testing.T) {
	const events = 3 << 20 / eventPayload // some slabs
	s := &bare{streams: map[string]*[]uint32{}}
	data := func(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, eventPayload/2) }
	for i := range events {
		require.True(t, s.append(fmt.Sprint(i%7), i/7, data(i)))
	}
	require.False(t, s.append("0", 1, data(0)), "the version has moved")
	for k := range 7 {
		for n, i := range *s.streams[fmt.Sprint(k)] {
			require.EqualValues(t, k+7*n, i)
			micros, got := s.event(i, eventPayload)
			require.Positive(t, micros)
			require.Equal(t, data(int(i)), got)
		}
	}
}
