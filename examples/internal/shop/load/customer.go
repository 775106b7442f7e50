package load

import (
	"context"
	"slices"
	"sync"
)

// customer is somebody who buys. Safe for concurrent use.
type customer struct {
	ID     int
	secret string

	mu       sync.Mutex
	known    bool // token is what signing in has given, which may be nothing
	token    string
	spent    int64            // cents
	versions map[string]int64 // the highest version seen of an article
}

// credit is what a new customer has, in cents. Who has spent most of it buys no
// more: an order that is rejected for lack of money would be taken for a fault.
const (
	credit    = 1000_00
	spendable = credit * 8 / 10
)

// maxCustomers bounds those who are kept; the oldest goes first.
const maxCustomers = 256

// customer is the one at a share in [0, 1) of those there are. Before anybody has
// signed up it is Alice, who is always there.
func (g *Generator) customer(share float64) *customer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.customers[int(share*float64(len(g.customers)))]
}

// welcome adds a customer who has signed up.
func (g *Generator) welcome(c *customer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.customers = append(g.customers, c)
	if len(g.customers) > maxCustomers {
		g.customers = slices.Delete(g.customers, 1, 2) // not Alice
	}
}

// spend books an order; who has spent all goes, except Alice, so that there is
// always somebody.
func (g *Generator) spend(c *customer, cents int64) {
	c.mu.Lock()
	c.spent += cents
	broke := c.spent > spendable
	c.mu.Unlock()
	if !broke {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.customers, c); i >= 0 && len(g.customers) > 1 {
		g.customers = slices.Delete(g.customers, i, i+1)
	}
}

// authorize returns the customer's token, and signs him in if he is not.
func (g *Generator) authorize(ctx context.Context, c *customer) (string, error) {
	if c == nil || g.config.Login == nil {
		return "", nil
	}
	c.mu.Lock()
	token, known := c.token, c.known
	c.mu.Unlock()
	if known {
		return token, nil
	}
	// Without the lock: two logins at once do no harm, and a lock held over a
	// request would hold up everything that this customer does.
	token, err := g.config.Login(ctx, c.ID, c.secret)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.token, c.known = token, true
	c.mu.Unlock()
	return token, nil
}

// forget drops a token that was refused: it has expired, or its session has ended.
func (c *customer) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.known = false
	}
}

// seen is the highest version of an article that the customer has been shown.
func (c *customer) seen(sku string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.versions[sku]
}

// see notes a version.
func (c *customer) see(sku string, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.versions == nil {
		c.versions = map[string]int64{}
	}
	c.versions[sku] = max(c.versions[sku], version)
}
