package eventtest

import "time"

// Hurry shortens what the suite waits for things that do not happen.
func Hurry(d time.Duration) { brokerPatience = d }
