package gateway

import (
	"net/http"
	"strings"
)

// Who a route is for. A customer's routes are open to operators as well, and what
// belongs to whom is the service's to say: it alone knows.
const (
	anyone   = "anyone"
	customer = "customer"
	operator = "operator"
)

// route leads requests of one method and path to one service. What is not in the table
// does not exist for clients: neither /log nor /stats nor /_control.
type route struct {
	Method  string `json:"method"`
	Path    string `json:"path"` // pattern of http.ServeMux; GET is HEAD as well
	Service string `json:"service"`
	For     string `json:"for"`
	cut, at string // the prefix that clients know, and what it is at the service
}

var routes = []route{
	{Method: "GET", Path: "/api/users", Service: "users", For: anyone},
	{Method: "POST", Path: "/api/users", Service: "users", For: anyone},
	{Method: "GET", Path: "/api/users/{id}", Service: "users", For: anyone},
	{Method: "POST", Path: "/api/sessions", Service: "users", For: anyone},
	{Method: "DELETE", Path: "/api/sessions/{sid}", Service: "users", For: customer},
	{Method: "GET", Path: "/api/products", Service: "products", For: anyone},
	{Method: "GET", Path: "/api/products/{sku}", Service: "products", For: anyone},
	{Method: "PATCH", Path: "/api/products/{sku}", Service: "products", For: operator},
	{Method: "GET", Path: "/api/orders", Service: "orders", For: customer},
	{Method: "POST", Path: "/api/orders", Service: "orders", For: customer},
	{Method: "GET", Path: "/api/orders/{id}", Service: "orders", For: customer},
	{Method: "PATCH", Path: "/api/orders/{id}", Service: "orders", For: customer},
	{Method: "POST", Path: "/api/orders/{id}/return", Service: "orders", For: customer},
	{Method: "GET", Path: "/api/orders/{id}/history", Service: "orders", For: customer},
	{Method: "GET", Path: "/api/wallet/{user}", Service: "payments", For: customer, cut: "/wallet/", at: "/wallets/"},
	{Method: "POST", Path: "/api/wallet/{user}/deposits", Service: "payments", For: customer, cut: "/wallet/", at: "/wallets/"},
	{Method: "POST", Path: "/api/wallet/{user}/withdrawals", Service: "payments", For: customer, cut: "/wallet/", at: "/wallets/"},
	{Method: "GET", Path: "/api/stock", Service: "inventory", For: operator},
	{Method: "POST", Path: "/api/stock/{sku}", Service: "inventory", For: operator},
	{Method: "GET", Path: "/api/mail/sent", Service: "mailer", For: operator, cut: "/mail/", at: "/"},
	{Method: "GET", Path: "/api/mail/dead", Service: "mailer", For: operator, cut: "/mail/", at: "/"},
	{Method: "POST", Path: "/api/mail/dead/replay", Service: "mailer", For: operator, cut: "/mail/", at: "/"},
}

// upstream is the path at the service, as it was sent, escapes and all: decoded and
// encoded again, %2F is a slash.
func (rt route) upstream(r *http.Request) string {
	path := strings.TrimPrefix(r.URL.RequestURI(), "/api")
	if rest, ok := strings.CutPrefix(path, rt.cut); ok && rt.cut != "" {
		path = rt.at + rest
	}
	return path
}
