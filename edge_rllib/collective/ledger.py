"""What collective training costs: exploration in the sites' worlds, and bytes on the way, by role and generation."""

from __future__ import annotations

from typing import Any

ROLES = ("site_to_population", "population_to_site", "site_to_experience", "experience_to_master")


class Ledger:
    """Sums since the beginning, and of the generation under way."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.cost = 0.0  # paid while exploring, in units of minus the reward, over all sites
        self.n_steps = 0
        self.n_bytes = dict.fromkeys(ROLES, 0)
        self.of_sites: dict[str, float] = {}  # cost by site
        self._generation_bytes = dict.fromkeys(ROLES, 0)

    def explored(self, site: str, cost: float, n_steps: int) -> None:
        """Book what a site paid for a generation's env steps."""
        self.cost += cost
        self.n_steps += n_steps
        self.of_sites[site] = self.of_sites.get(site, 0.0) + cost

    def sent(self, role: str, n_bytes: int) -> None:
        """Book bytes of one message."""
        self.n_bytes[role] += n_bytes
        self._generation_bytes[role] += n_bytes

    def take_generation(self) -> dict[str, float]:
        """Return figures, with the bytes of the generation that ends here."""
        figures: dict[str, float] = {"exploration_cost": self.cost, "sites_env_steps": float(self.n_steps)}
        figures |= {f"bytes/{role}": float(count) for role, count in self._generation_bytes.items()}
        figures["bytes_lifetime"] = float(sum(self.n_bytes.values()))
        self._generation_bytes = dict.fromkeys(ROLES, 0)
        return figures

    def get_state(self) -> dict[str, Any]:
        """Return a copy of all sums."""
        return {
            "cost": self.cost,
            "n_steps": self.n_steps,
            "n_bytes": dict(self.n_bytes),
            "of_sites": dict(self.of_sites),
            "generation_bytes": dict(self._generation_bytes),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from ``get_state``."""
        self.cost, self.n_steps = state["cost"], state["n_steps"]
        self.n_bytes, self.of_sites = dict(state["n_bytes"]), dict(state["of_sites"])
        self._generation_bytes = dict(state["generation_bytes"])
