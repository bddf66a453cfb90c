"""The three controllers of a latent model: gradient planner, MPPI, and the policy alone."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .networks import Parameters, encode, policy_of, sample, values_of
from .planning import Decision, Memory, empty_memory, plan_return, plan_returns, policy_plans, shifted
from .settings import ModelSettings, check


@dataclass(frozen=True, slots=True)
class PolicyAlone:
    """The policy's mean action, or a sample if `explore`."""

    model: ModelSettings
    explore: bool = False
    name: str = "policy"

    @property
    def model_evaluations(self) -> int:
        """None."""
        return 0

    def start(self) -> Memory:
        """Nothing is remembered."""
        return empty_memory(1, self.model.action)

    def decide(self, parameters: Parameters, memory: Memory, observation: Float[Array, "observation"], key: Key[Array, ""]) -> Decision:
        """Act without a look ahead."""
        latent = encode(self.model, parameters, observation)
        noise = jax.random.normal(key, (self.model.action,)) * self.explore
        action = sample(policy_of(self.model, parameters, latent), noise)[0]
        return Decision(action, memory, jnp.mean(values_of(self.model, parameters.values, latent, action)))


@dataclass(frozen=True, slots=True)
class GradientPlanner:
    """Gradient planner of Dream-MPC (arXiv:2605.04568, Algorithm 1), mended; the defaults are the paper's.

    Mended: the penalty has a gradient; candidates are ranked after the last step, and a step that lowered a candidate's return is taken
    back; actions are clipped after each step; the first candidate is the mean of the policy, so that the choice is never worse in the
    model than the policy's plan; what is reused is the best plan of the decision before, in every other candidate, instead of the
    candidate with the same index.

    Attributes:
        candidates: N.
        horizon: H.
        steps: K, gradient steps; 0 ranks the candidates as they are.
        step_size: Change of an action per unit of gradient.
        clip: Largest norm of the gradient of one candidate (the paper's code: 20, of all candidates together).
        reuse: rho, share of the earlier plan.
        disagreement: lambda, weight of the penalty.
    """

    model: ModelSettings
    candidates: int = 5
    horizon: int = 3
    steps: int = 1
    step_size: float = 0.1
    clip: float = 20.0
    reuse: float = 0.1
    disagreement: float = 0.01
    name: str = "gradient"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range.
        """
        limits: dict[str, tuple[float, float]] = {
            "candidates": (1, 1024), "horizon": (1, 64), "steps": (0, 256), "step_size": (1e-6, 10), "clip": (1e-6, 1e6),
            "reuse": (0, 1), "disagreement": (0, 1e3),
        }  # fmt: skip
        check(self, limits, "gradient planner setting")

    @property
    def model_evaluations(self) -> int:
        """Policy rollouts, each gradient step forward and back, and the ranking."""
        return self.candidates * self.horizon * (2 * self.steps + 2)

    def start(self) -> Memory:
        """No earlier plan."""
        return empty_memory(self.horizon, self.model.action)

    def seeds(
        self, parameters: Parameters, memory: Memory, latent: Float[Array, "latent"], key: Key[Array, ""]
    ) -> Float[Array, "candidate horizon action"]:
        """Candidates before refinement: the policy's mean first, then samples of it blended with the earlier plan."""
        noise = jax.random.normal(key, (self.candidates, self.horizon, self.model.action)).at[0].set(0.0)
        fresh = policy_plans(self.model, parameters, latent, noise)
        share = jnp.where(memory.known, self.reuse, 0.0) * (jnp.arange(self.candidates) > 0)
        return fresh + share[:, None, None] * (shifted(memory.plan)[None] - fresh)

    def refine(
        self, parameters: Parameters, latent: Float[Array, "latent"], plan: Float[Array, "horizon action"]
    ) -> tuple[Float[Array, "horizon action"], Float[Array, ""]]:
        """Climb by `steps` gradient steps; the best plan on the way, and its return."""

        def returned(actions: Array) -> Array:
            return plan_return(self.model, parameters, self.disagreement, latent, actions)[0]

        def climb(state: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            actions, best, best_return = state
            value, gradient = jax.value_and_grad(returned)(actions)
            gradient = gradient * jnp.minimum(1.0, self.clip / (jnp.sqrt(jnp.sum(gradient**2)) + 1e-9))
            better = value > best_return
            best, best_return = jnp.where(better, actions, best), jnp.where(better, value, best_return)
            return (jnp.clip(actions + self.step_size * gradient, -1.0, 1.0), best, best_return), None

        (last, best, best_return), _ = jax.lax.scan(climb, (plan, plan, -jnp.inf), None, length=self.steps)
        value = returned(last)
        better = value > best_return
        return jnp.where(better, last, best), jnp.where(better, value, best_return)

    def decide(self, parameters: Parameters, memory: Memory, observation: Float[Array, "observation"], key: Key[Array, ""]) -> Decision:
        """Seed, refine, rank; act by the best."""
        latent = encode(self.model, parameters, observation)
        plans, returns = jax.vmap(lambda plan: self.refine(parameters, latent, plan))(self.seeds(parameters, memory, latent, key))
        best = jnp.argmax(returns)
        return Decision(plans[best][0], Memory(plans[best], jnp.ones((), bool)), returns[best])


@dataclass(frozen=True, slots=True)
class Mppi:
    """Model-predictive path integral control in the latent space; the defaults are TD-MPC2's (arXiv:2310.16828).

    Attributes:
        samples: Plans evaluated in an iteration, those of the policy included.
        elites: Best plans that the distribution is fitted to.
        policy_plans: Plans sampled from the policy.
        iterations: Fits.
        horizon: H.
        temperature: Factor of the returns in the exponent of the weights.
        std_low, std_high: Range of the standard deviation; the upper end is where it starts.
        explore: Add noise of the last standard deviation to the action.
    """

    model: ModelSettings
    samples: int = 512
    elites: int = 64
    policy_plans: int = 24
    iterations: int = 6
    horizon: int = 3
    temperature: float = 0.5
    std_low: float = 0.05
    std_high: float = 2.0
    explore: bool = False
    name: str = "MPPI"

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: a field is outside its range.
        """
        limits: dict[str, tuple[float, float]] = {
            "samples": (2, 1e5), "elites": (1, self.samples), "policy_plans": (0, self.samples - 1), "iterations": (1, 256),
            "horizon": (1, 64), "temperature": (0, 1e3), "std_low": (0, 10), "std_high": (self.std_low, 10),
        }  # fmt: skip
        check(self, limits, "MPPI setting")

    @property
    def model_evaluations(self) -> int:
        """Policy rollouts, and all samples of all iterations."""
        return self.policy_plans * self.horizon + self.samples * self.horizon * self.iterations

    def start(self) -> Memory:
        """No earlier mean."""
        return empty_memory(self.horizon, self.model.action)

    def decide(self, parameters: Parameters, memory: Memory, observation: Float[Array, "observation"], key: Key[Array, ""]) -> Decision:
        """Fit a Gaussian to the elites of its own samples, again and again; act by one of the last elites, drawn by weight."""
        latent = encode(self.model, parameters, observation)
        policy_key, sample_key, draw_key, noise_key = jax.random.split(key, 4)
        shape = (self.horizon, self.model.action)
        ours = policy_plans(self.model, parameters, latent, jax.random.normal(policy_key, (self.policy_plans, *shape)))

        def fit(state: tuple[Array, ...], key: Array) -> tuple[tuple[Array, ...], None]:
            mean, std, *_ = state
            drawn = mean + std * jax.random.normal(key, (self.samples - self.policy_plans, *shape))
            plans = jnp.concatenate([ours, jnp.clip(drawn, -1.0, 1.0)])
            returns, best = jax.lax.top_k(plan_returns(self.model, parameters, 0.0, latent, plans), self.elites)
            elites = plans[best]
            weights = jax.nn.softmax(self.temperature * returns)
            mean = jnp.tensordot(weights, elites, 1)
            std = jnp.clip(jnp.sqrt(jnp.tensordot(weights, (elites - mean) ** 2, 1)), self.std_low, self.std_high)
            return (mean, std, elites, returns), None

        mean = jnp.where(memory.known, shifted(memory.plan), 0.0)
        blank = (jnp.zeros((self.elites, *shape)), jnp.zeros(self.elites))
        first = (mean, jnp.full(shape, self.std_high, jnp.float32), *blank)
        (mean, std, elites, returns), _ = jax.lax.scan(fit, first, jax.random.split(sample_key, self.iterations))
        chosen = jax.random.categorical(draw_key, self.temperature * returns)
        action = elites[chosen, 0] + self.explore * std[0] * jax.random.normal(noise_key, (self.model.action,))
        return Decision(jnp.clip(action, -1.0, 1.0), Memory(mean, jnp.ones((), bool)), returns[chosen])
