// A gateway of boxo without a block of its own, as Rainbow can be run: it reads everything as CARs (IPIP-402) from the
// gateway whose URL it is given. It prints its own URL once it answers.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/ipfs/boxo/gateway"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: boxo-car-gateway <url of a trustless gateway>")
	}
	backend, err := gateway.NewRemoteCarBackend([]string{os.Args[1]}, nil)
	if err != nil {
		log.Fatal(err)
	}
	subdomains := &gateway.PublicGateway{
		Paths:                 []string{"/ipfs", "/ipns"},
		UseSubdomains:         true,
		DeserializedResponses: true,
	}
	config := gateway.Config{
		DeserializedResponses: true,
		PublicGateways:        map[string]*gateway.PublicGateway{"example.com": subdomains, "localhost": subdomains},
	}
	hosts := gateway.NewHostnameHandler(config, backend, gateway.NewHandler(config, backend))
	handler := gateway.NewHeaders(nil).ApplyCors().Wrap(hosts)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, tunnels(handler)))
}

// tunnels takes CONNECT, as the suite wants it of a gateway that is used as a proxy.
func tunnels(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}
