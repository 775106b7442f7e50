// Package retryhttp retries and hedges HTTP requests, in an http.RoundTripper
// for any client.
//
// The nearest thing that you know is a loop around http.Client.Do. The
// differences are what that loop gets wrong: it sends a POST twice that was
// received once, it sends a body that is half consumed, it leaves the body of
// the failed response unread and so opens a connection for each attempt, and it
// reports "giving up" instead of the server's last answer.
//
//	client := &http.Client{Transport: &retryhttp.Transport{
//		Policy: &retry.Policy{MaxAttempts: 4, AttemptTimeout: 2 * time.Second},
//	}}
//	res, err := client.Get("http://10.0.0.7/users/7")
//
// # What is sent again
//
// A request whose body can be had again (there is none, or http.NewRequest knew
// how to copy it) and which the method or an Idempotency-Key header says may be
// sent twice. Any other is sent once, and again only if the connection could not
// even be dialed, for then nothing was sent.
//
// # What comes back
//
// The last response, with its body open, once retrying stops: a server that
// answers 503 to the end gives a response with status 503 and no error. An error
// comes back when there is no response: the transport's own if it is final, else
// a [*retry.Error].
//
// # Timeouts
//
// AttemptTimeout of the policy bounds the time to the header of each response,
// not the reading of its body. http.Client.Timeout bounds the whole, waits
// included; a wait that does not fit it is not slept. A redirect is a round trip
// of its own, with attempts of its own.
package retryhttp
