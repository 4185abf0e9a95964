"""Scripts about sequences, graphs and curves in the style of `pytorch/examples`: their steps, unchanged."""

# ruff: noqa: N806, N812 - names as in the scripts

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.foreign_scripts import Batch, Script, draw, every, script


class _RNNModel(nn.Module):
    """The recurrent model of `word_language_model/model.py`."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(30, 12)
        self.rnn = nn.LSTM(12, 12, 2, dropout=0.2)
        self.decoder = nn.Linear(12, 30)
        self.decoder.weight = self.encoder.weight

    def forward(self, input: torch.Tensor, hidden: Any) -> Any:  # noqa: A002 - as in the script
        emb = self.drop(self.encoder(input))
        output, hidden = self.rnn(emb, hidden)
        decoded = self.decoder(self.drop(output)).view(-1, 30)
        return F.log_softmax(decoded, dim=1), hidden

    def init_hidden(self, bsz: int) -> tuple[torch.Tensor, torch.Tensor]:
        weight = next(self.parameters())
        return weight.new_zeros(2, bsz, 12), weight.new_zeros(2, bsz, 12)


def _word_language_model(*, by_hand: bool, carried: bool) -> Script:
    model = _RNNModel()
    criterion = nn.NLLLoss()
    optimizer = optim.SGD(model.parameters(), lr=5.0)
    hidden = model.init_hidden(4)
    settings = {"lr": 5.0}

    def train(batch: Batch) -> torch.Tensor:
        nonlocal hidden
        data, targets = batch[0][:, :-1].t(), batch[0][:, 1:].t().reshape(-1)
        model.zero_grad()
        if carried:
            hidden = tuple(h.detach() for h in hidden)  # type: ignore[assignment]
            output, hidden = model(data, hidden)
        else:
            output, _ = model(data, model.init_hidden(4))
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        if by_hand:
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-settings["lr"])  # type: ignore[arg-type]
        else:
            optimizer.step()
        return loss

    def before(step: int) -> None:
        if step % 6 == 0:
            settings["lr"] /= 4.0
            optimizer.param_groups[0]["lr"] = settings["lr"]

    return Script([model], [optimizer], train, draw((9,), words=30), before)


@script("word_language_model")
def word_language_model() -> Script:
    """`word_language_model/main.py` with a fresh hidden state for each batch and torch's SGD."""
    return _word_language_model(by_hand=False, carried=False)


@script("word_language_model by hand")
def word_language_model_by_hand() -> Script:
    """`word_language_model/main.py`, which updates its parameters itself, with a rate that its loop divides."""
    return _word_language_model(by_hand=True, carried=False)


@script("word_language_model as it is")
def word_language_model_as_it_is() -> Script:
    """`word_language_model/main.py`: the hidden state goes from batch to batch in a variable."""
    return _word_language_model(by_hand=True, carried=True)


class _Sequence(nn.Module):
    """The model of `time_sequence_prediction/train.py`, in binary64."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm1, self.lstm2 = nn.LSTMCell(1, 7), nn.LSTMCell(7, 7)
        self.linear = nn.Linear(7, 1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as in the script
        outputs = []
        h_t = torch.zeros(input.size(0), 7, dtype=torch.double)
        c_t, h_t2, c_t2 = torch.zeros_like(h_t), torch.zeros_like(h_t), torch.zeros_like(h_t)
        for input_t in input.split(1, dim=1):
            h_t, c_t = self.lstm1(input_t, (h_t, c_t))
            h_t2, c_t2 = self.lstm2(h_t, (h_t2, c_t2))
            outputs += [self.linear(h_t2)]
        return torch.cat(outputs, dim=1)


def _time_sequence(*, second_order: bool) -> Script:
    seq = _Sequence()
    seq.double()
    criterion = nn.MSELoss()
    optimizer: Any = optim.LBFGS(seq.parameters(), lr=0.8) if second_order else optim.Adam(seq.parameters(), lr=0.01)

    def train(batch: Batch) -> torch.Tensor:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            out = seq(batch[0][:, :-1].double())
            loss = criterion(out, batch[0][:, 1:].double())
            loss.backward()
            return loss

        return optimizer.step(closure)

    return Script([seq], [optimizer], train, draw((9,)))


@script("time_sequence_prediction")
def time_sequence_prediction() -> Script:
    """`time_sequence_prediction/train.py` with Adam, which is given the closure."""
    return _time_sequence(second_order=False)


@script("time_sequence_prediction by LBFGS")
def time_sequence_prediction_by_lbfgs() -> Script:
    """`time_sequence_prediction/train.py` as it is."""
    return _time_sequence(second_order=True)


@script("regression")
def regression() -> Script:
    """`regression/main.py`: a polynomial, updated by hand."""
    fc = nn.Linear(4, 1)
    optimizer = optim.SGD(fc.parameters(), lr=0.1)
    W_target = torch.randn(4, 1, generator=torch.Generator().manual_seed(0)) * 5

    def train(batch: Batch) -> torch.Tensor:
        x = batch[0]
        features = torch.cat([x**i for i in range(1, 5)], 1)
        batch_y = features.mm(W_target) + 5.0
        fc.zero_grad()
        output = F.smooth_l1_loss(fc(features), batch_y)
        output.backward()
        for param in fc.parameters():
            param.data.add_(-0.1 * param.grad)  # type: ignore[operator]
        return output

    return Script([fc], [optimizer], train, draw((1,)))


@script("language_translation")
def language_translation() -> Script:
    """`language_translation/main.py`: masks made in the step, teacher forcing, a loss that ignores padding."""
    PAD_IDX = 1

    class Translator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.src_embedding, self.tgt_embedding = nn.Embedding(30, 16), nn.Embedding(30, 16)
            self.transformer = nn.Transformer(16, 2, 1, 1, 32, dropout=0.1)
            self.ff = nn.Linear(16, 30)
            self._init_weights()

        def _init_weights(self) -> None:
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.xavier_uniform_(p)

        def forward(self, src: Any, trg: Any, src_mask: Any, tgt_mask: Any, src_pad: Any, tgt_pad: Any) -> Any:
            src_emb = self.src_embedding(src.long()) * math.sqrt(16)
            tgt_emb = self.tgt_embedding(trg.long()) * math.sqrt(16)
            outs = self.transformer(src_emb, tgt_emb, src_mask, tgt_mask, None, src_pad, tgt_pad, src_pad)
            return self.ff(outs)

    model = Translator()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD_IDX)

    def generate_square_subsequent_mask(size: int) -> torch.Tensor:
        mask = (torch.triu(torch.ones((size, size))) == 1).transpose(0, 1)
        return mask.float().masked_fill(mask == 0, float("-inf")).masked_fill(mask == 1, 0.0)

    def create_mask(src: torch.Tensor, tgt: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tgt_mask = generate_square_subsequent_mask(tgt.shape[0])
        src_mask = torch.zeros((src.shape[0], src.shape[0])).type(torch.bool)
        return src_mask, tgt_mask, (src == PAD_IDX).transpose(0, 1), (tgt == PAD_IDX).transpose(0, 1)

    def train(batch: Batch) -> torch.Tensor:
        src, tgt = batch[0].t(), batch[1].t()
        tgt_input = tgt[:-1, :]
        src_mask, tgt_mask, src_padding_mask, tgt_padding_mask = create_mask(src, tgt_input)
        logits = model(src, tgt_input, src_mask, tgt_mask, src_padding_mask, tgt_padding_mask)
        optimizer.zero_grad()
        tgt_out = tgt[1:, :]
        loss = criterion(logits.reshape(-1, logits.shape[-1]), tgt_out.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((8,), (9,), words=30))


@script("gcn")
def gcn() -> Script:
    """`gcn/main.py`: a sparse adjacency matrix, and rows that are chosen by index."""
    weights = nn.ParameterList([torch.empty(8, 6), torch.empty(6, 3)])
    for weight in weights:
        nn.init.kaiming_normal_(weight)
    optimizer = optim.Adam(weights.parameters(), lr=0.01, weight_decay=5e-4)
    adj = (torch.eye(4) + torch.eye(4).roll(1, 0)).to_sparse()

    def train(batch: Batch) -> torch.Tensor:
        optimizer.zero_grad()
        x = F.dropout(F.relu(torch.sparse.mm(adj, batch[0] @ weights[0])), 0.5, training=True)
        output = F.log_softmax(torch.sparse.mm(adj, x @ weights[1]), dim=1)
        loss = F.nll_loss(output, batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return Script([weights], [optimizer], train, draw((8,), classes=3))


@script("vision_transformer")
def vision_transformer() -> Script:
    """`vision_transformer/main.py`: patches by convolution, a class token, AdamW."""

    class VisionTransformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 16, 4, 4)
            self.class_token = nn.Parameter(torch.randn(1, 1, 16))
            self.positions = nn.Parameter(torch.randn(1, 17, 16))
            layer = nn.TransformerEncoderLayer(16, 2, 32, 0.1, activation="gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
            return self.head(self.encoder(x)[:, 0])

    model = VisionTransformer()
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    def train(batch: Batch) -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return Script([model], [optimizer], train, draw((3, 16, 16)), every(1, CosineAnnealingLR(optimizer, 30)))
