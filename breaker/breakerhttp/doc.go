// Package breakerhttp puts the gates of package breaker between a program and
// HTTP: [Transport] on the side of the client, [Middleware] on the side of the
// server.
//
//	hosts := breaker.Group[string, *breaker.Breaker]{New: newBreaker}
//	client := &http.Client{Transport: &breakerhttp.Transport{
//		Breaker: func(r *http.Request) breaker.Gate { return hosts.Get(r.URL.Host) },
//	}}
//
// Both take a function from the request to the gate, so that one client or
// server can have a gate per host, per route or per tenant.
package breakerhttp
